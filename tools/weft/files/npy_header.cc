// SPDX-License-Identifier: Apache-2.0
#include "files/npy_header.h"

#include <fmt/core.h>

#include <charconv>
#include <limits>

namespace weft::tools {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::string parse(NpyDict* dict) {
    if (!take('{')) return expected("'{'");
    bool seen[3] = {};
    while (!take('}')) {
      std::string key;
      if (std::string error = parse_string(&key); !error.empty()) return error;
      if (!take(':')) return expected("':'");
      std::string error;
      if (key == "descr") {
        error = parse_descr(&dict->descr), seen[0] = true;
      } else if (key == "fortran_order") {
        error = parse_bool(&dict->fortran_order), seen[1] = true;
      } else if (key == "shape") {
        error = parse_shape(&dict->shape), seen[2] = true;
      } else {
        return fmt::format("the key '{}' is unknown", key);
      }
      if (!error.empty()) return error;
      if (!take(',') && !peek('}')) return expected("',' or '}'");
    }
    skip_space();
    if (at_ != text_.size()) return expected("the end");
    const char* names[3] = {"descr", "fortran_order", "shape"};
    for (int i = 0; i < 3; ++i) {
      if (!seen[i]) return fmt::format("the key '{}' is missing", names[i]);
    }
    return {};
  }

 private:
  std::string expected(std::string_view what) const {
    if (at_ >= text_.size()) return fmt::format("it ends where {} should be", what);
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c < 0x20 || c > 0x7e) return fmt::format("byte {} is 0x{:02x}, not {}", at_, c, what);
    return fmt::format("byte {} is '{}', not {}", at_, text_[at_], what);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  bool peek(char c) {
    skip_space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    skip_space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  std::string parse_string(std::string* out) {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      return expected("a string");
    const std::size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return "a string has no end";
    *out = std::string(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return {};
  }

  // A structured dtype is a list; it is kept as text so that the error can show it.
  std::string parse_descr(std::string* out) {
    if (!peek('[')) return parse_string(out);
    int depth = 0;
    const std::size_t begin = at_;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '[') ++depth;
      if (text_[at_] == ']' && --depth == 0) {
        ++at_;
        *out = std::string(text_.substr(begin, at_ - begin));
        return {};
      }
    }
    return "a list has no end";
  }

  std::string parse_bool(bool* out) {
    if (take_word("True")) {
      *out = true;
    } else if (take_word("False")) {
      *out = false;
    } else {
      return expected("True or False");
    }
    return {};
  }

  std::string parse_shape(std::vector<std::int64_t>* out) {
    if (!take('(')) return expected("'('");
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
      if (error == std::errc::result_out_of_range) return "an extent is larger than 2^63 - 1";
      if (error != std::errc()) return expected("an extent");
      if (extent < 0) return fmt::format("an extent is {}", extent);
      at_ += static_cast<std::size_t>(end - begin);
      out->push_back(extent);
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote long integers so
      if (!take(',') && !peek(')')) return expected("',' or ')'");
    }
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string parse_npy_dict(std::string_view text, NpyDict* dict) {
  return Parser(text).parse(dict);
}

}  // namespace weft::tools
