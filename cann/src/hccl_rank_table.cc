// SPDX-License-Identifier: Apache-2.0
#include "hccl_rank_table.h"

#include <fmt/core.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "comm/options.h"
#include "hccl_call.h"
#include "json_value.h"

namespace weft::cann {
namespace {

constexpr std::size_t kMostPathBytes = 4096;
constexpr int kMostDevice = 1 << 20;

/// One value of the file, and what a table must have there.
class Value : public JsonValue {
 public:
  Value(JsonValue value) : JsonValue(std::move(value)) {}
  template <typename Key>
  Value at(Key key) const {
    return JsonValue::at(key);
  }

  Error wrong(std::string_view wanted) const {
    return {HCCL_E_PARA,
            exists() ? fmt::format("{} is \"{:.60}\" but must be {}", path(), text(), wanted)
                     : fmt::format("{} is missing; it must be {}", path(), wanted)};
  }
  Error list() const { return is_list() && size() > 0 ? Error() : wrong("a list of objects"); }
  /// A number, which tables also write as a string.
  Error number(int end, int& value) const {
    const std::string digits = text();
    const char* const last = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), last, value);
    const bool good = error == std::errc() && stop == last && value >= 0 && value < end;
    return good ? Error() : wrong(fmt::format("a number from 0 to {}", end - 1));
  }
  Error one_of(std::initializer_list<std::string_view> wanted) const {
    std::string list;
    for (const std::string_view option : wanted) {
      if (exists() && text() == option) return {};
      list += fmt::format("{}\"{}\"", list.empty() ? "" : " or ", option);
    }
    return wrong(list);
  }
};

Error check_servers(const Value& root) {
  const Value servers = root.at("server_list");
  Error error = servers.list();
  if (!error.ok()) return error;
  const Value count = root.at("server_count");
  int number = 0;
  if (count.exists()) error = count.number(1 << 20, number);
  if (error.ok() && count.exists() && number != static_cast<int>(servers.size()))
    error = count.wrong(fmt::format("{}, the length of server_list", servers.size()));
  if (!error.ok() || servers.size() == 1) return error;
  return {HCCL_E_NOT_SUPPORT,
          fmt::format("server_list has {} servers, but all ranks must be on one host: there are "
                      "transports within a host only",
                      servers.size())};
}

Error read_ranks(const Value& devices, std::vector<int>& device_of_rank) {
  const int ranks = static_cast<int>(devices.size());
  std::map<int, int> ranks_of_devices;
  std::set<int> seen;
  device_of_rank.assign(devices.size(), -1);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    int rank = 0, device = 0;
    Error error = devices.at(i).at("rank_id").number(ranks, rank);
    if (error.ok()) error = devices.at(i).at("device_id").number(kMostDevice, device);
    if (!error.ok()) return error;
    if (!seen.insert(rank).second)
      return devices.at(i).at("rank_id").wrong("a number that no other entry has");
    if (!ranks_of_devices.emplace(device, rank).second)
      return devices.at(i).at("device_id").wrong("a number that no other entry has");
    device_of_rank[static_cast<std::size_t>(rank)] = device;
  }
  return {};
}

Error read_table(const Value& root, RankTable& table) {
  Error error = root.at("version").one_of({"1.0", "1.2"});
  if (error.ok()) error = root.at("status").one_of({"completed"});
  if (error.ok()) error = check_servers(root);
  if (!error.ok()) return error;
  const Value server = root.at("server_list").at(std::size_t{0});
  const Value devices = server.at("device");
  error = devices.list();
  if (error.ok() && devices.size() > weft::internal::kMaxRanks)
    error = Error(HCCL_E_PARA, fmt::format("server_list[0].device has {} entries but may have {}",
                                           devices.size(), weft::internal::kMaxRanks));
  if (error.ok()) error = read_ranks(devices, table.devices);
  if (!error.ok()) return error;
  table.text = "rank table;" + server.at("server_id").text();
  for (const int device : table.devices) table.text += fmt::format(";{}", device);
  return {};
}

}  // namespace

Error read_rank_table(const char* path, RankTable& table) {
  if (!path) return null_argument("clusterInfo");
  if (strnlen(path, kMostPathBytes + 1) > kMostPathBytes)
    return {HCCL_E_PARA,
            fmt::format("the path of the rank table has more than {} bytes", kMostPathBytes)};
  std::ifstream file(path);
  if (!file) return {HCCL_E_OPEN_FILE_FAILURE, fmt::format("cannot read the rank table {}", path)};
  const std::optional<JsonValue> root = JsonValue::read_object(file);
  if (!root) return {HCCL_E_PARA, fmt::format("the rank table {} is no JSON object", path)};
  Error error = read_table(*root, table);
  if (!error.ok()) error.message = fmt::format("the rank table {}: {}", path, error.message);
  return error;
}

}  // namespace weft::cann
