// SPDX-License-Identifier: Apache-2.0
// Files of PackedWeight: what comes back is what was saved, and nothing else is accepted.
#include "ops/weights/packed_weight_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/context_state.h"
#include "operator_case.h"
#include "ops/weights/packed_weight.h"
#include "temporary_folder.h"
#include "thread_ranks.h"
#include "weft/weights.h"

namespace weft::testing {
namespace {

using internal::PackedWeightHeader;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kK = 70, kN = 33;
constexpr std::size_t kHeaderBytes = sizeof(PackedWeightHeader);

Context one_thread(const std::string& isa = "") {
  return Context::create({.threads = 1, .isa = isa}).value();
}

std::vector<std::uint16_t> random_bits(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> bits(128 * 128);
  for (auto& b : bits) b = static_cast<std::uint16_t>(random());
  return bits;
}

PackedWeight packed(Context& context) {
  return PackedWeight::pack(context, {random_bits(1).data(), DType::kBFloat16, {kK, kN}}).value();
}

std::string panels(const PackedWeight& weight) {
  return {reinterpret_cast<const char*>(weight.state().panels.data()),
          static_cast<std::size_t>(weight.bytes())};
}

// The message with which load() refuses; it names the file.
std::string refusal(const std::string& path, Context& context) {
  const auto weight = PackedWeight::load(context, path);
  EXPECT_FALSE(weight.ok());
  if (weight.ok()) return "";
  EXPECT_EQ(weight.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(weight.status().message(), StartsWith("PackedWeight::load: '" + path + "' "));
  return weight.status().message();
}
std::string refusal(const std::string& path) {
  Context context = one_thread();
  return refusal(path, context);
}

TEST(PackedWeightFile, BringsBackWhatWasSaved) {
  const TemporaryFolder folder;
  const std::vector<std::uint16_t> bits = random_bits(2);
  for (const char* isa : {"", "scalar"})
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kInt8}) {
      Context context = one_thread(isa);
      const ConstTensorRef sources[] = {
          {bits.data(), dtype, {kK, kN}},
          ConstTensorRef(bits.data(), dtype, {kN, kK}).transposed(),
          ConstTensorRef::fractal_nz(bits.data(), dtype, kK, kN),
          ConstTensorRef::fractal_nz(bits.data(), dtype, kN, kK).transposed()};
      for (const ConstTensorRef& source : sources) {
        SCOPED_TRACE(to_string(source) + " " + isa);
        const PackedWeight saved = PackedWeight::pack(context, source).value();
        EXPECT_EQ(saved.source(), to_string(source));
        const std::string path = folder / "weight";  // replaces the one before
        ASSERT_TRUE(saved.save(path).ok()) << saved.save(path).to_string();
        const auto loaded = PackedWeight::load(context, path);
        ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
        EXPECT_EQ(loaded->k(), kK);
        EXPECT_EQ(loaded->n(), kN);
        EXPECT_EQ(loaded->dtype(), dtype);
        EXPECT_EQ(loaded->source(), to_string(source));
        EXPECT_EQ(loaded->state().kernel, saved.state().kernel);
        EXPECT_EQ(loaded->state().kc, saved.state().kc);
        ASSERT_EQ(loaded->bytes(), saved.bytes());
        EXPECT_TRUE(panels(*loaded) == panels(saved));
      }
    }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "save() left a partial file";
}

TEST(PackedWeightFile, GivesTheBitsOfX2) {
  const TemporaryFolder folder;
  for (const char* row : {"A1", "A2", "A3"}) {
    const OperatorCase c = plain_case(row, "37x2200:2200x50", 5);
    const RankData data(c, 0, 1), loaded(c, 0, 1);
    std::vector<Group> groups = make_groups("loopback", 1, operator_group_options());
    Context context = one_thread();
    using Args = MatmulAllReduceAddRmsNormArgs;
    Args args = loaded.args<Args>();
    ASSERT_TRUE(matmul_allreduce_add_rmsnorm(context, groups[0], data.args<Args>()).ok());
    ASSERT_TRUE(PackedWeight::pack(context, args.x2).value().save(folder / "weight").ok());
    const PackedWeight weight = PackedWeight::load(context, folder / "weight").value();
    args.x2 = {};
    args.packed_x2 = &weight;
    const Status status = matmul_allreduce_add_rmsnorm(context, groups[0], args);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(loaded.bits(), data.bits()) << row;
  }
}

// A saved file that tests change.
class DamagedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(packed(context_).save(path_).ok());
    whole_ = read_file(path_);
    ASSERT_GT(whole_.size(), kHeaderBytes);
  }
  std::string refusal_of(const std::string& bytes) {
    write_file(path_, bytes);
    return refusal(path_, context_);
  }
  // With a header that is consistent but for what `change` did.
  template <typename Change>
  std::string refusal_of_header(const Change& change, const std::string& file) {
    PackedWeightHeader header;
    std::memcpy(&header, file.data(), kHeaderBytes);
    change(header);
    header.header_checksum = internal::header_checksum(header);
    std::string bytes = file;
    std::memcpy(bytes.data(), &header, kHeaderBytes);
    return refusal_of(bytes);
  }
  template <typename Change>
  std::string refusal_of_header(const Change& change) {
    return refusal_of_header(change, whole_);
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "weight";
  Context context_ = one_thread();
  std::string whole_;
};

TEST_F(DamagedFile, EveryBitOfTheHeaderIsChecked) {
  for (std::size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
    std::string bytes = whole_;
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const std::string expected =
        bit < 8 * offsetof(PackedWeightHeader, format)         ? "is not a packed weight"
        : bit < 8 * offsetof(PackedWeightHeader, header_bytes) ? "but this weft reads format 2"
                                                               : "the checksum of its header is";
    ASSERT_THAT(refusal_of(bytes), HasSubstr(expected)) << "bit " << bit;
  }
}

TEST_F(DamagedFile, EveryBitOfThePanelsIsChecked) {
  const unsigned seed = 7;
  std::mt19937 random(seed);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole_;
    const std::size_t bit = 8 * kHeaderBytes + random() % (8 * (whole_.size() - kHeaderBytes));
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ASSERT_THAT(refusal_of(bytes), HasSubstr("the checksum of its panels is")) << "bit " << bit;
  }
}

TEST_F(DamagedFile, EveryLengthIsChecked) {
  const unsigned seed = 8;
  std::mt19937 random(seed);
  std::vector<std::size_t> lengths = {whole_.size() - 1};
  for (std::size_t length = 0; length <= kHeaderBytes; ++length) lengths.push_back(length);
  for (int i = 0; i < 200; ++i) lengths.push_back(random() % whole_.size());
  for (const std::size_t length : lengths)
    ASSERT_THAT(
        refusal_of(whole_.substr(0, length)),
        AllOf(HasSubstr("has " + std::to_string(length) + " bytes but"), HasSubstr("cut off")))
        << "length " << length;
  EXPECT_THAT(refusal_of(whole_ + '\0'), HasSubstr("it was cut off or added to"));
}

TEST_F(DamagedFile, NoiseIsNotAPackedWeight) {
  std::mt19937 random(9);
  for (int i = 0; i < 50; ++i) {
    std::string bytes(whole_.size(), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    EXPECT_THAT(refusal_of(bytes), HasSubstr("is not a packed weight (it does not begin with"));
  }
}

// Checksums do not help against a header that was written wrong; its numbers are not believed.
TEST_F(DamagedFile, ContradictionsAreSeen) {
  const auto with = [&](auto member, auto value) {
    return refusal_of_header([&](PackedWeightHeader& h) { h.*member = value; });
  };
  constexpr std::int64_t kHuge = std::int64_t{1} << 62, kMost = (std::int64_t{1} << 31) - 1;
  EXPECT_THAT(with(&PackedWeightHeader::header_bytes, 329u),
              HasSubstr("its header says it takes 329 bytes but it takes 328"));
  for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-1}, kMost + 1, kHuge}) {
    const std::string text = std::to_string(value);
    EXPECT_THAT(with(&PackedWeightHeader::k, value), HasSubstr("k and n are " + text + " and 33"));
    EXPECT_THAT(with(&PackedWeightHeader::n, value), HasSubstr("k and n are 70 and " + text));
    EXPECT_THAT(with(&PackedWeightHeader::kc, value),
                HasSubstr("its chunks have " + text + " rows but must have a multiple of"));
    EXPECT_THAT(with(&PackedWeightHeader::panel_bytes, value), HasSubstr("bytes of panels but"));
  }
  EXPECT_THAT(with(&PackedWeightHeader::k, kMost), HasSubstr("bytes of panels but its header"));
  EXPECT_THAT(with(&PackedWeightHeader::n, kMost), HasSubstr("bytes of panels but its header"));
  for (const std::int64_t value : {std::int64_t{-1}, kMost + 1})
    EXPECT_THAT(with(&PackedWeightHeader::experts, value),
                HasSubstr("it has " + std::to_string(value) + " experts but must have"));
  EXPECT_THAT(with(&PackedWeightHeader::experts, std::int64_t{2}),
              HasSubstr("bytes of panels but its header"));
  // Sizes that agree with each other and not with the file.
  const gemm::Kernel& kernel = *gemm::select(DType::kBFloat16, context_.state().isa);
  const auto larger = [&](PackedWeightHeader& h) {
    h.n = 10000;
    h.panel_bytes = *internal::packed_bytes(kernel, h.experts, h.k, h.n, h.kc);
  };
  EXPECT_THAT(refusal_of_header(larger), HasSubstr("it was cut off or added to"));
  // Sizes too large for 63 bits.
  const auto overflowing = [&](PackedWeightHeader& h) {
    h.k = h.n = kMost;
    h.kc = kernel.k_step;
  };
  EXPECT_THAT(refusal_of_header(overflowing), HasSubstr("contradicts itself"));
}

TEST_F(DamagedFile, OtherKernelsAreRefused) {
  const auto name = [](std::string_view text) {
    return [text](PackedWeightHeader& h) {
      std::memset(h.kernel, 0, sizeof(h.kernel));
      std::memcpy(h.kernel, text.data(), text.size());
    };
  };
  EXPECT_THAT(refusal_of_header(name("gemm_of_tomorrow")),
              HasSubstr("was packed for gemm_of_tomorrow, which this weft does not have"));
  EXPECT_THAT(refusal_of_header(name("")), HasSubstr("which this weft does not have"));
  // No zero at the end of the field.
  const std::string filled(sizeof(PackedWeightHeader::kernel), 'x');
  EXPECT_THAT(refusal_of_header(name(filled)), HasSubstr("was packed for " + filled + ", which"));
  Context scalar = one_thread("scalar");
  if (scalar.isa() == context_.isa()) GTEST_SKIP() << "this machine has only scalar";
  write_file(path_, whole_);
  EXPECT_THAT(refusal(path_, scalar), HasSubstr("which this Context may not use (scalar)"));
}

// A source text without a zero at its end stays inside its field.
TEST_F(DamagedFile, TextsEndWithTheirFields) {
  PackedWeightHeader header;
  std::memcpy(&header, whole_.data(), kHeaderBytes);
  std::memset(header.source, 's', sizeof(header.source));
  header.header_checksum = internal::header_checksum(header);
  std::memcpy(whole_.data(), &header, kHeaderBytes);
  write_file(path_, whole_);
  const auto weight = PackedWeight::load(context_, path_);
  ASSERT_TRUE(weight.ok()) << weight.status().to_string();
  EXPECT_EQ(weight->source(), std::string(sizeof(header.source), 's'));
}

TEST(PackedWeightFile, PathsThatCannotBeLoaded) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal(folder / "missing"), HasSubstr("cannot be opened (No such file"));
  EXPECT_THAT(refusal(""), HasSubstr("cannot be opened"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("is a directory; give the file that save() wrote"));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder / "pipe"), HasSubstr("is not a regular file"));
  write_file(folder / "empty", "");
  EXPECT_THAT(refusal(folder / "empty"), HasSubstr("has 0 bytes but"));
  if (geteuid() == 0) return;  // nothing is unreadable for root
  ASSERT_EQ(chmod((folder / "empty").c_str(), 0), 0);
  EXPECT_THAT(refusal(folder / "empty"), HasSubstr("cannot be opened (Permission denied)"));
}

TEST(PackedWeightFile, PathsThatCannotBeSaved) {
  const TemporaryFolder folder;
  Context context = one_thread();
  const PackedWeight weight = packed(context);
  const auto refused = [&](const std::string& path) {
    const Status status = weight.save(path);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), StartsWith("PackedWeight::save: '" + path + "' cannot be"));
    return status.message();
  };
  EXPECT_THAT(refused(folder / "missing/weight"), HasSubstr("created (No such file"));
  std::filesystem::create_directory(folder / "directory");
  EXPECT_THAT(refused(folder / "directory"), HasSubstr("written (Is a directory)"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "a partial file was left behind";
  // Others may read a new file.
  EXPECT_TRUE(weight.save(folder / "weight").ok());
  struct stat info {};
  ASSERT_EQ(stat((folder / "weight").c_str(), &info), 0);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

// A disk that fills up, in the form of a limit on the size of files.
TEST(PackedWeightFile, AnEarlierFileSurvivesAFailedSave) {
  const TemporaryFolder folder;
  write_file(folder / "weight", "earlier");
  Context context = one_thread();
  const PackedWeight weight = packed(context);
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = weight.save(folder / "weight");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(status.message(), HasSubstr("cannot be written (File too large)"));
  EXPECT_EQ(read_file(folder / "weight"), "earlier");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "a partial file was left behind";
}

}  // namespace
}  // namespace weft::testing
