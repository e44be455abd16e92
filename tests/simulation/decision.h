// A history: a seed, which draws the scene (config, peers, limits), and the adversary's decisions.
//
// Each number in a decision is taken modulo what there is at that moment, and a decision that does
// not apply does nothing: whatever is deleted from a history, the rest is a history.
//
//   seed 17
//   connect peer=3 how=0
//   submit peer=0 type=2 how=5 id=0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tusk::simulation {

// X(name, the names of its numbers, what it does)
#define TUSK_ACTS(X)                                                                           \
  X(connect, "peer how", "a peer connects and says hello; how: what is odd about it")          \
  X(cut, "peer in out how", "a connection ends; all but the last in/out packets still arrive") \
  X(notice, "which", "the broker learns that a connection or a process has ended")             \
  X(die, "peer how", "a peer's process ends")                                                  \
  X(bye, "peer", "a peer ends its session in good order")                                      \
  X(deliver, "peer count", "packets of one peer reach the broker, one by one")                 \
  X(burst, "count", "packets of all peers reach the broker before it answers")                 \
  X(read, "peer count", "a peer reads packets")                                                \
  X(flow, "rounds", "all packets on their way arrive, both ways")                              \
  X(submit, "peer type how id wish", "a client submits a task")                                \
  X(push, "peer stage how id", "a client pushes an item into a stage")                         \
  X(cancel, "peer id", "a client cancels a task")                                              \
  X(publish, "peer topic how", "a client publishes an event")                                  \
  X(subscribe, "peer topic how", "a peer subscribes or unsubscribes")                          \
  X(query, "peer what id", "a peer asks something")                                            \
  X(answer, "peer run how", "a worker answers one of its runs")                                \
  X(answer_all, "peer how", "a worker answers all its runs in one packet")                     \
  X(put_off, "peer run how", "a worker defers a run, or pauses its type")                      \
  X(control, "peer type how", "an operator pauses a type")                                     \
  X(wrong, "peer run how", "a worker answers what it should not")                              \
  X(slots, "peer slots", "a worker changes its slots")                                         \
  X(ack, "peer", "a peer acknowledges what it got")                                            \
  X(garbage, "peer how", "a peer sends what no peer should")                                   \
  X(request, "req what type id wish", "a REQ peer asks")                                       \
  X(hang_up, "req", "a REQ peer's connection ends")                                            \
  X(edge, "what which how", "a message on a plain edge")                                       \
  X(advance, "ms", "time passes")                                                              \
  X(reload, "variant", "the operator reloads another config")                                  \
  X(restart, "keep", "the broker is killed and starts again; what peers had queued may stay")  \
  X(shutdown, "how", "the operator stops the broker; it starts again when it has ended")

enum class Act : uint8_t {
#define TUSK_ACT_ENUM(name, numbers, what) name,
  TUSK_ACTS(TUSK_ACT_ENUM)
#undef TUSK_ACT_ENUM
      kCount
};
inline constexpr size_t kActs = static_cast<size_t>(Act::kCount);

struct Decision {
  Act act{};
  std::array<uint32_t, 5> with{};
  bool operator==(const Decision&) const = default;
};

struct History {
  uint64_t seed = 0;
  std::vector<Decision> decisions;
};

std::string_view act_text(Act act);
// How many of its numbers an act uses.
size_t numbers_of(Act act);
std::string to_text(const Decision& decision);
std::string to_text(const History& history);
// Nothing, and why, if the text is no history.
std::optional<History> parse_history(std::string_view text, std::string& why);

}  // namespace tusk::simulation
