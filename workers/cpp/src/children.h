// Runs that wait for tasks which they have submitted: they lend their slot, and their thread, out
// until these have ended.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "errors.h"
#include "proto/decoder.h"
#include "tusk/client.h"

namespace tusk::detail {

class Notices;
class RunQueue;
struct Run;

// What the threads of one run's handler wait for. Any thread.
class Awaiting : public std::enable_shared_from_this<Awaiting> {
 public:
  using Pendings = std::vector<std::shared_ptr<Pending>>;

  Awaiting(Run& run, Notices& notices, std::shared_ptr<RunQueue> queue);

  // Returns when all of these have ended and the run has a slot. Throws Cancelled when the run is
  // to stop before, and the broker's error when it must not wait for them.
  void wait_for(const Pendings& children);
  // Something became of a child.
  void notify();

  // The run has a slot again, keeps the one that it has, or must not wait, because of the failure.
  // Whether it was suspended.
  bool resume(bool keeps, FailurePtr failure);
  // In another session, in which the run has another handle.
  void suspend_again();
  void run_ended();

 private:
  // The time in which the run has no slot.
  struct Suspension {
    std::vector<std::shared_ptr<Pending>> named;
    bool over = false;
    bool left = false;   // nobody waits any more, and it is not over yet
    bool keeps = false;  // the broker has not taken the slot
    FailurePtr failure;
  };
  struct Child {
    std::shared_ptr<Pending> pending;
    unsigned waiters = 0;
  };

  std::shared_ptr<Suspension> suspend(const Pendings& children);
  void forget(const Pendings& children, Suspension& suspension);
  void name(Suspension& suspension) const;
  void tell(const Suspension& suspension);
  bool end(bool keeps, FailurePtr failure);

  Run* const run_;  // until it is over
  Notices& notices_;
  const std::weak_ptr<RunQueue> queue_;
  const bool is_item_;
  const std::stop_token stop_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<const Pending*, Child> children_;
  std::shared_ptr<Suspension> suspended_;  // nothing: the run has a slot
  bool is_over_ = false;
};

// The runs of a worker that have waited for children, and the client that submits these.
class Children {
 public:
  Children(Notices& notices, const std::string& url, const std::string& name)
      : notices_(notices), url_(url), name_(name) {}

  // Before the first run.
  void use(const std::shared_ptr<RunQueue>& queue) { queue_ = queue; }

  // --- a handler's thread ---

  Awaiting& of(Run& run);
  std::shared_ptr<ClientCore> client();
  // Of a run that has one.
  void run_ended(Run& run);

  // --- the link's thread ---

  // Nothing if the run never waited.
  std::shared_ptr<Awaiting> find(const Run& run);
  // Whether this error is the answer to a suspend.
  bool refused(const Run& run, const proto::Record& error);
  // The worker has ended.
  void close();

 private:
  Notices& notices_;
  const std::string& url_;
  const std::string& name_;
  std::weak_ptr<RunQueue> queue_;

  std::mutex mutex_;
  std::unordered_map<const Run*, std::shared_ptr<Awaiting>> all_;
  std::shared_ptr<ClientCore> client_;  // made when it is first asked for
  bool is_closed_ = false;
};

}  // namespace tusk::detail
