// What has arrived of a stream and was not read.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "errors.h"
#include "tusk/client.h"

namespace tusk::detail {

class Inflow : public std::enable_shared_from_this<Inflow> {
 public:
  Inflow(std::uint64_t chunks_on_their_way, std::weak_ptr<ClientCore> client)
      : window(chunks_on_their_way), client_(std::move(client)) {}

  const std::uint64_t window;

  // --- the reader's thread ---

  // Before anything else.
  void set_id(const TaskId& id) { id_ = id; }
  // Throws StreamRestarted, StreamBroken, Closed, and what the task ended with.
  std::optional<Chunk> next();
  Chunk result();
  void close();

  // --- the client's thread ---

  // `what`: the chunk's body as msgpack or as `codec` says.
  void take(std::uint64_t attempt, std::uint64_t index, Chunk what);
  // `chunks`: how many the last run has sent, if that was said.
  void take_count(std::uint64_t attempt, std::optional<std::uint64_t> chunks);
  void finish(const Ending& ending);
  // It will be asked for in another session.
  void again();
  std::uint64_t session();

  // Under which it is asked for; 0: it is not. The client's thread.
  std::uint64_t number = 0;

 private:
  // A chunk, or what was wrong before it.
  struct Arrived {
    Chunk chunk;
    std::uint64_t session = 0;
    std::uint64_t restarted = 0;  // the attempt
    std::uint64_t missing = 0;    // chunks
  };

  void push(Arrived what);
  std::uint64_t credit_for(const Arrived& chunk);

  const std::weak_ptr<ClientCore> client_;
  TaskId id_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Arrived> waiting_;
  std::uint64_t session_ = 0;  // counts those in which it was asked for
  std::uint64_t credit_ = 0;   // chunks read in this session, and not told yet
  bool has_given_ = false;     // the program has had a chunk
  bool is_done_ = false;
  bool is_read_ = false;  // to its end
  bool is_closed_ = false;
  Chunk result_;
  FailurePtr failure_;

  // The client's thread: of the last chunk.
  std::uint64_t attempt_ = 0;
  std::uint64_t index_ = 0;
};

}  // namespace tusk::detail
