// The side of the callers: from a function's arguments to a request in the inbox.
#include "client_core.h"

#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "errors.h"
#include "identity.h"
#include "proto/scanner.h"

namespace tusk::detail {
namespace {

constexpr std::size_t kMaxTrace = 8192;  // bytes of a traceparent or baggage

bool is_task(Submission::Op op) {
  return op == Submission::Op::kSubmit || op == Submission::Op::kPost;
}

ClientOptions completed(ClientOptions options) {
  if (options.url.empty()) options.url = environment("TUSK_URL", kDefaultUrl);
  return options;
}

}  // namespace

ClientCore::ClientCore(ClientOptions options)
    : options_(completed(std::move(options))),
      generation_(fork_generation()),
      link_(options_.url, *this) {
  if (options_.timeout) deadlines_.set_default(*options_.timeout);
  // Signals are the program's own threads' to take.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "tusk-client");
    link_.run();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ClientCore::~ClientCore() { close(); }

bool ClientCore::forked() const { return generation_ != fork_generation(); }

void ClientCore::check_may_wait() const {
  if (std::this_thread::get_id() == thread_.get_id()) {
    throw Error(
        "deadlock",
        "a callback runs on the client's thread and cannot wait for the client: use submit, "
        "push or publish with a callback");
  }
}

void ClientCore::check_body(Op op, const std::string& body, const CallOptions& options) const {
  const std::size_t limit = body_limit_.load(std::memory_order_relaxed);
  if (body.size() > limit) {
    throw TooLarge("too_large",
                   "the body has " + std::to_string(body.size()) +
                       " bytes, the limit \"body\" is " + std::to_string(limit),
                   options.id, "body", limit);
  }
  if (options.trace.size() > kMaxTrace || options.baggage.size() > kMaxTrace) {
    throw ValueError("trace and baggage have at most 8,192 bytes");
  }
  if (!proto::is_utf8(options.trace) || !proto::is_utf8(options.baggage)) {
    throw ValueError("trace and baggage are text");
  }
  const std::size_t most = session_bytes_.load(std::memory_order_relaxed);
  const std::size_t there = queued_bytes_.load(std::memory_order_relaxed) + link_.unacked_bytes();
  // A body may be as large as everything: then it goes when it is alone.
  if (op != Op::kCancel && op != Op::kQuery && op != Op::kControl && op != Op::kCredit &&
      there > 0 && there + body.size() > most) {
    throw Busy("busy",
               std::to_string(there) +
                   " bytes are not acknowledged, the limit \"session_bytes\" is " +
                   std::to_string(most) + ": try again when some are",
               options.id, "session_bytes", most);
  }
}

// At most twice the window is handed over and unanswered: one window on its way, one in line.
void ClientCore::wait_for_push_place() {
  std::unique_lock lock(push_mutex_);
  const auto there_is_room = [this] {
    return pushes_pending_ < 2 * push_window_.load(std::memory_order_relaxed) || closing_;
  };
  if (!there_is_room()) {
    if (std::this_thread::get_id() == thread_.get_id()) {
      throw Busy("busy", "too many pushes are unanswered", {}, "push_window", push_window_);
    }
    push_changed_.wait(lock, there_is_room);
  }
  ++pushes_pending_;
}

void ClientCore::fill_in(Request& r, Op op, std::string_view name, std::string&& body,
                         bool has_body, const CallOptions& options, std::unique_ptr<Terms> terms,
                         Callback&& done) {
  r.op = op;
  r.has_body = has_body;
  r.resent = options.resent;
  r.rerun_ok = options.rerun_ok;
  r.has_timeout = options.timeout.has_value();
  r.timeout = options.timeout.value_or(std::chrono::milliseconds(0));
  r.id = options.id ? *options.id : is_task(op) || op == Op::kPush ? TaskId::make() : TaskId{};
  r.name = name;
  constexpr std::size_t kCopied = 512;  // the place has memory for these already
  if (body.size() <= kCopied) {
    r.body.assign(body);
  } else if (body.size() < proto::kFrameBody) {
    r.body = std::move(body);
  } else {
    auto* owner = new std::string(std::move(body));
    r.body.clear();
    r.frame = proto::Bytes::adopt(
        owner->data(), owner->size(), [](void* o) { delete static_cast<std::string*>(o); }, owner);
  }
  if (!options.trace.empty() || !options.baggage.empty()) {
    r.trace.reset(new std::string[2]{options.trace, options.baggage});
  }
  r.terms = std::move(terms);
  r.done = std::move(done);
  r.started = Clock::now();
  r.counted = r.cost();
}

void ClientCore::check_not_forked() const {
  if (forked()) {
    throw Error("forked", "this client was made before fork(): make one in the child");
  }
}

TaskId ClientCore::hand_over(Op op, std::string_view name, std::string&& body, bool has_body,
                             const CallOptions& options, Callback&& done, Extra extra) {
  check_not_forked();
  if (op != Op::kCancel && op != Op::kUpdate && op != Op::kCredit) {
    if (name.empty()) throw ValueError("a name is empty");
    if (name.size() > proto::kMaxName) {
      throw TooLarge("too_large", "a name has more than 255 bytes", {}, "name", proto::kMaxName);
    }
    if (!proto::is_utf8(name)) throw ValueError("a name is not UTF-8");
  }
  check_body(op, body, options);
  auto terms = terms_of(op, options);
  if (options.window && !extra.inflow) {
    throw Invalid("invalid", "window is for Client::stream; this has no chunks");
  }
  const bool patient = extra.inflow && !options.timeout;
  if (extra.any()) {
    if (!terms) terms = std::make_unique<Terms>();
    terms->extra = std::move(extra);
  }
  if (op == Op::kPush) wait_for_push_place();

  // Here, not under the lock: it takes its time with a large body.
  const std::size_t threshold = threshold_.load(std::memory_order_relaxed);
  const bool prepared = threshold > 0 && has_body &&
                        (is_task(op) || op == Op::kPush || op == Op::kPublish || op == Op::kUpdate);
  const bool compressed =
      prepared && compress(body, {.body = 0, .lz4 = true, .threshold = threshold});
  const auto take = [&](Request& r) {
    fill_in(r, op, name, std::move(body), has_body, options, std::move(terms), std::move(done));
    r.prepared = prepared;
    r.patient = patient;
    r.compressed = compressed;
    r.codec = 0;
    queued_bytes_.fetch_add(r.counted, std::memory_order_relaxed);
    return r.id;
  };

  const bool own = std::this_thread::get_id() == thread_.get_id();
  if (own && !used_.empty() && !closing_.load(std::memory_order_relaxed)) {
    // A callback asks for more: nobody else is in the way.
    Request* r = used_.back();
    used_.pop_back();
    RequestPool::clean(*r);
    own_inbox_.push_back(r);
    return take(*r);
  }
  TaskId id;
  {
    std::lock_guard lock(mutex_);
    if (closing_) throw Closed("closed", "the client is closed", options.id);
    Request* r = pool_.take();
    id = take(*r);
    inbox_.push_back(r);
    // Who put something in before has woken the link, which takes all of it under this lock.
    if (has_inbox_.load(std::memory_order_relaxed)) return id;
    has_inbox_.store(true, std::memory_order_seq_cst);
  }
  link_.wake();
  return id;
}

void ClientCore::await_all(std::span<const TaskId> ids, const CallOptions& options,
                           std::vector<Callback> done) {
  check_not_forked();
  check_body(Op::kAwait, {}, options);
  std::vector<std::unique_ptr<Terms>> terms;
  for (std::size_t i = 0; i < ids.size(); ++i) terms.push_back(terms_of(Op::kAwait, options));
  {
    std::lock_guard lock(mutex_);
    if (closing_) throw Closed("closed", "the client is closed");
    CallOptions own{.timeout = options.timeout};
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Request* r = pool_.take();
      own.id = ids[i];
      fill_in(*r, Op::kAwait, {}, {}, false, own, std::move(terms[i]), std::move(done[i]));
      queued_bytes_.fetch_add(r->counted, std::memory_order_relaxed);
      inbox_.push_back(r);
    }
    has_inbox_.store(true, std::memory_order_seq_cst);
  }
  link_.wake();
}

void ClientCore::listen(const std::shared_ptr<Channel>& channel) {
  check_may_wait();
  topics_.add(channel);
  auto pending = std::make_shared<Pending>();
  try {
    hand_over(Op::kSubscribe, channel->name, {}, false, {}, [=](const Ending& ending) {
      channel->accepted = ending.ok();
      pending->finish(ending);
    });
    pending->wait();
  } catch (...) {
    unlisten(channel);
    throw;
  }
}

void ClientCore::unlisten(const std::shared_ptr<Channel>& channel) {
  channel->end();
  if (forked()) return;
  topics_.remove(channel, [&] {
    try {
      hand_over(Op::kUnsubscribe, channel->name, {}, false, {}, nullptr);
    } catch (const Error&) {
      // Closed: the session's end is that of its subscriptions.
    }
  });
}

void ClientCore::close() {
  if (forked()) return;
  if (std::this_thread::get_id() == thread_.get_id()) {
    throw Error("deadlock", "a callback cannot close its own client");
  }
  std::call_once(closed_, [this] {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
      has_inbox_ = true;
    }
    {
      std::lock_guard lock(push_mutex_);
      push_changed_.notify_all();
    }
    link_.wake();
    thread_.join();
    end_all();
  });
}

// The thread has ended: what is left gets its error here.
void ClientCore::end_all() {
  std::size_t unsent = 0, unfinished = 0;
  auto end = [&](Request* r, std::size_t& count) {
    if (is_task(r->op) || r->op == Op::kPush) ++count;
    fail(r, failure("closed", "the client was closed", r->id));
  };
  {
    std::lock_guard lock(mutex_);
    taken_.swap(inbox_);
  }
  for (Request* r : own_inbox_) make_ready(r);
  for (Request* r : taken_) make_ready(r);
  for (RequestQueue* queue : {&ready_, &pushes_, &parked_}) {
    while (Request* r = queue->first()) end(r, unsent);
  }
  for (Request* r : table_.all()) end(r, unfinished);
  if (unsent + unfinished > 0) {
    std::fprintf(stderr, "tusk: closed with %zu tasks unsent and %zu unfinished (%s)\n", unsent,
                 unfinished, link_.url().c_str());
  }
  topics_.end_all();
}

}  // namespace tusk::detail
