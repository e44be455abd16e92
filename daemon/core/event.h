// What goes into the core and what comes out: `actions = broker.handle(event, now)`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/orchestration.h"
#include "daemon/core/body_checker.h"
#include "proto/bytes.h"

namespace tusk::core {

// A ZeroMQ connection, as numbered by the transport: dense, and used again only after Disconnected.
using ConnectionId = uint32_t;
inline constexpr ConnectionId kNoConnection = UINT32_MAX;

// --- events --------------------------------------------------------------------------------------

// A packet on the ROUTER. The views live for the call only; the bodies may be kept.
struct PacketReceived {
  ConnectionId connection;
  std::string_view records;
  std::span<const proto::Bytes> bodies;
  // The frame in front of the empty one of a REQ peer's envelope (often empty itself); nothing for
  // packets of a session.
  std::optional<std::string_view> envelope;
};

// The connection ended, after its last packet.
struct Disconnected {
  ConnectionId connection;
};

// The process behind a session ended (Watch asked for this).
struct ProcessEnded {
  uint64_t session;
};

// A message on the XSUB edge, and one on the PULL edge.
struct EdgeEvents {
  std::string_view topic;
  std::string_view records;
  std::span<const proto::Bytes> bodies;
};
struct EdgeItems {
  std::string_view records;
  std::span<const proto::Bytes> bodies;
};

// A new configuration, valid in itself, and the checkers of its message types. The outcome is
// Actions::reload.
struct Reload {
  std::shared_ptr<const config::Orchestration> config;
  BodyCheckers checkers{};
};

// The process behind this session is one that tuskd starts again when it is killed: an answer to
// Hang.
struct Replaceable {
  uint64_t session;
};

// Stop: refuse what is new, end what runs. A second one: at once.
struct Shutdown {};

// Nothing happened but time.
struct Tick {};

using Event = std::variant<PacketReceived, Disconnected, ProcessEnded, EdgeEvents, EdgeItems,
                           Reload, Replaceable, Shutdown, Tick>;

// --- actions -------------------------------------------------------------------------------------

struct Send {
  ConnectionId connection;
  std::optional<std::string> envelope;  // of a REQ peer
  proto::Bytes records;
  std::vector<proto::Bytes> bodies;
};

struct SendEvents {  // on XPUB
  std::string topic;
  proto::Bytes records;
  std::vector<proto::Bytes> bodies;
};

struct SendItems {  // on PUSH
  proto::Bytes records;
  std::vector<proto::Bytes> bodies;
};

// Say ProcessEnded when this process ends, or has ended.
struct Watch {
  uint64_t session;
  uint32_t pid;
};
// The session is gone: stop watching.
struct Unwatch {
  uint64_t session;
};

// A run of this session's worker hangs. If its process is one that tuskd can replace, say
// Replaceable.
struct Hang {
  uint64_t session;
  uint32_t pid;
};
// Kill this process, and start it again.
struct Kill {
  uint64_t session;
  uint32_t pid;
};

struct LogLine {
  config::LogLevel level;
  std::string text;
};

// Whether a reload was applied; if not, why, one line each.
struct ReloadOutcome {
  std::vector<std::string> refused;
};

struct Actions {
  std::vector<Send> sends;
  std::vector<SendEvents> events;
  std::vector<SendItems> items;
  std::vector<Watch> watches;
  std::vector<Unwatch> unwatches;
  std::vector<Hang> hangs;
  std::vector<Kill> kills;
  std::vector<LogLine> log;
  std::optional<ReloadOutcome> reload;
  bool stopped = false;  // everything ended: the daemon may exit

  void clear() {
    sends.clear();
    events.clear();
    items.clear();
    watches.clear();
    unwatches.clear();
    hangs.clear();
    kills.clear();
    log.clear();
    reload.reset();
    stopped = false;
  }
};

}  // namespace tusk::core
