// A task's id: 16 bytes that its client makes, unique, UUIDv7 by custom.
//
//   tusk::TaskId id = tusk::TaskId::make();      // carries the time of its making
//   std::cout << id.hex();                       // 0190163d8694739bb5fe2e9f3a0a0d5e
//   auto same = tusk::TaskId::parse(id.hex());   // also with dashes
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tusk {

struct TaskId {
  std::array<std::uint8_t, 16> bytes{};

  // A new UUIDv7 (RFC 9562). May be called on any thread, and in a forked child.
  static TaskId make();
  // 32 hexadecimal digits, dashes allowed between them; nothing if it is not that.
  static std::optional<TaskId> parse(std::string_view text);

  std::string hex() const;

  auto operator<=>(const TaskId&) const = default;
};

}  // namespace tusk
