// What is behind a tusk::Client: requests from any thread, one link, one thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "link.h"
#include "payload.h"
#include "requests.h"
#include "topics.h"
#include "tusk/client.h"

namespace tusk::detail {

class ClientCore : public Link::Peer {
 public:
  using Clock = Link::Clock;
  using Op = Submission::Op;

  explicit ClientCore(ClientOptions options);
  ~ClientCore() override;

  // --- any thread ---

  const std::string& url() const { return link_.url(); }
  TaskId hand_over(Op op, std::string_view name, std::string&& body, bool has_body,
                   const CallOptions& options, Callback&& done, Extra extra = {});
  // Asks for the endings of tasks, in one packet if they fit. One callback for each id.
  void await_all(std::span<const TaskId> ids, const CallOptions& options,
                 std::vector<Callback> done);
  void listen(const std::shared_ptr<Channel>& channel);
  void unlisten(const std::shared_ptr<Channel>& channel);
  void close();
  // Throws if this thread must not wait for an answer, because it is the one that brings it.
  void check_may_wait() const;
  std::thread::id thread() const { return thread_.get_id(); }
  // Whether this is a forked child, in which there is no thread to talk to.
  bool forked() const;

  // --- the link's thread ---

  std::uint32_t hello_fields() override;
  void pack_hello(proto::Writer& out) override;
  void welcomed(proto::Value fields, bool resumed) override;
  void record(const proto::Record& record, Incoming& packet) override;
  Clock::time_point work(Clock::time_point now) override;
  bool has_work() override;
  bool delivered() override;
  void fill(proto::Writer& out, std::uint64_t seq) override;
  void acknowledged(std::uint64_t) override {}
  bool refused_packet(std::uint64_t seq, const proto::Record& error) override;
  void refused(std::string_view code, std::string_view message) override;
  void dropped(std::uint64_t seq) override;

 private:
  // One topic that somebody listens to.
  void check_not_forked() const;
  void check_body(Op op, const std::string& body, const CallOptions& options) const;
  void wait_for_push_place();
  void fill_in(Request& r, Op op, std::string_view name, std::string&& body, bool has_body,
               const CallOptions& options, std::unique_ptr<Terms> terms, Callback&& done);
  void take_inbox();
  void make_ready(Request* r);
  RequestQueue& queue_of(const Request& r) { return r.op == Op::kPush ? pushes_ : ready_; }
  PayloadRules::Writing writing_of(const Request& r) const;
  bool prepare(Request* r);
  void leave_queue(Request& r);
  bool fill_from(RequestQueue& queue, proto::Writer& out, std::uint64_t seq);
  void write(proto::Writer& out, const Request& r);
  void write_credit(proto::Writer& out, Request* r);
  void expire(Clock::time_point now);
  void resubmit();
  void finish(Request* r, std::string_view body, unsigned codec, FailurePtr failure,
              const TaskId* joined = nullptr);
  void fail(Request* r, FailurePtr failure) { finish(r, {}, 0, std::move(failure)); }
  void take_out(Request* r);
  void take_result(Request* r, const proto::Record& record, Incoming& packet);
  void take_progress(const Request& r, const proto::Record& record, Incoming& packet);
  void take_chunk(Request* r, const proto::Record& record, Incoming& packet);
  void take_error(Request* r, const proto::Record& record);
  void take_event(const proto::Record& record, Incoming& packet);
  void end_all();

  const ClientOptions options_;
  const unsigned generation_;
  Link link_;

  // What callers and the link's thread share.
  std::mutex mutex_;
  std::vector<Request*> inbox_;
  RequestPool pool_;
  std::atomic<bool> has_inbox_{false};
  std::atomic<bool> closing_{false};
  std::atomic<std::size_t> queued_bytes_{0};
  std::atomic<std::size_t> session_bytes_{proto::Limits{}.session_bytes};
  std::atomic<std::size_t> push_window_{proto::Limits{}.push_window};
  std::atomic<std::size_t> body_limit_{proto::Limits{}.body};
  // 0: not known, no compression, or the link's thread must look at each body's message type.
  std::atomic<std::size_t> threshold_{0};
  std::mutex push_mutex_;
  std::condition_variable push_changed_;
  std::size_t pushes_pending_ = 0;  // under push_mutex_
  Topics topics_;
  std::once_flag closed_;

  // The link's thread alone.
  std::vector<Request*> own_inbox_;  // what callbacks handed over
  std::vector<Request*> taken_;
  std::vector<Request*> used_;  // to go back into the pool
  RequestTable table_;
  RequestQueue ready_;
  RequestQueue pushes_;
  RequestQueue parked_;  // the broker was leaving: again when one is there
  Deadlines deadlines_;
  PayloadRules rules_;
  proto::AttributeWriter attributes_;
  std::size_t unanswered_pushes_ = 0;
  std::size_t awaiting_accept_ = 0;  // posts, pushes and publishes without an answer
  Clock::time_point parked_until_ = Clock::time_point::max();
  std::uint64_t epoch_ = 0;

  std::thread thread_;  // last: it uses the rest
};

}  // namespace tusk::detail
