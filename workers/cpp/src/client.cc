#include "tusk/client.h"

#include <utility>

#include "children.h"
#include "client_core.h"
#include "proto/decoder.h"
#include "proto/scanner.h"

namespace tusk {

std::exception_ptr Ending::error() const {
  if (!failure_) return nullptr;
  try {
    detail::raise(*failure_);
  } catch (...) {
    return std::current_exception();
  }
}

namespace detail {

void Pending::finish(const Ending& ending) {
  std::unique_lock lock(mutex);
  body = ending.body();
  codec = ending.codec();
  failure = ending.failure_;
  if (ending.joined_) joined = *ending.joined_;
  done = true;
  changed.notify_all();
  lock.unlock();
  if (awaiting) awaiting->notify();
}

void Pending::accept() {
  {
    std::lock_guard lock(mutex);
    taken = true;
  }
  if (awaiting) awaiting->notify();
}

void Pending::wait_until_done() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return done; });
}

void Pending::wait() {
  if (awaiting) awaiting->wait_for({shared_from_this()});
  wait_until_done();
  if (failure) raise(*failure);
}

bool Pending::wait_until(std::chrono::steady_clock::time_point time) {
  std::unique_lock lock(mutex);
  return changed.wait_until(lock, time, [this] { return done; });
}

bool Crowd::enter(std::size_t most) {
  std::unique_lock lock(mutex);
  if (in_flight >= most) {
    full = true;
    changed.wait(lock, [&] { return in_flight < most; });
    full = false;
  }
  if (error) return false;
  ++in_flight;
  return true;
}

void Crowd::leave(std::exception_ptr error_or_nothing) {
  std::lock_guard lock(mutex);
  if (error_or_nothing && !error) error = std::move(error_or_nothing);
  --in_flight;
  if (full || in_flight == 0) changed.notify_all();
}

void Crowd::finish() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return in_flight == 0; });
  if (error) std::rethrow_exception(error);
}

void cancel(ClientCore& client, const TaskId& id) {
  client.hand_over(Submission::Op::kCancel, {}, {}, false, CallOptions{.id = id}, nullptr);
}

}  // namespace detail

using detail::Submission;

Client::Client(ClientOptions options)
    : core_(std::make_shared<detail::ClientCore>(std::move(options))) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&& other) noexcept {
  if (this != &other) {
    Client old(std::move(*this));
    core_ = std::move(other.core_);
  }
  return *this;
}

Client::~Client() {
  if (!core_) return;
  if (core_->forked()) {
    // Its thread and its sockets are the parent's. Nothing of it can be torn down here.
    new std::shared_ptr<detail::ClientCore>(std::move(core_));
    return;
  }
  core_->close();
}

const std::string& Client::url() const { return core_->url(); }

void Client::close() { core_->close(); }

TaskId Client::hand_over(Submission::Op op, std::string_view name, std::string&& body,
                         const CallOptions& options, Callback&& done) {
  return core_->hand_over(op, name, std::move(body), true, options, std::move(done));
}

namespace {

std::string wait_for(detail::ClientCore& core, Submission::Op op, std::string_view name,
                     std::string body, bool has_body, CallOptions options, TaskId* id = nullptr) {
  core.check_may_wait();
  auto pending = std::make_shared<detail::Pending>();
  const TaskId made = core.hand_over(op, name, std::move(body), has_body, std::move(options),
                                     [pending](const Ending& ending) { pending->finish(ending); });
  pending->wait();
  if (id) *id = made;
  return std::move(pending->body);
}

// What a control is about.
void check_name(const char* what, std::string_view name) {
  if (!name.empty() && name.size() <= proto::kMaxName && proto::is_utf8(name)) return;
  throw ValueError("the " + std::string(what) + " has " + std::to_string(name.size()) +
                   " bytes, and has to be UTF-8 of 1 to 255");
}

}  // namespace

std::pair<TaskId, std::string> Client::wait(Submission::Op op, std::string_view name,
                                            std::string body, CallOptions options) {
  TaskId id;
  std::string answer = wait_for(*core_, op, name, std::move(body), true, std::move(options), &id);
  return {id, std::move(answer)};
}

void Client::check_may_wait() const { core_->check_may_wait(); }

std::string Client::cancel(const TaskId& id, CallOptions options) {
  options.id = id;
  const std::string answer =
      wait_for(*core_, Submission::Op::kCancel, {}, {}, false, std::move(options));
  return from_body<Value>(answer)["state"].text();
}

Value Client::query(std::string_view what, const Value& arguments, CallOptions options) {
  std::string body = arguments.is_null() ? std::string() : to_body(arguments);
  const bool has_body = !body.empty();
  // The arguments are part of a record, with the bounds of one, which are tighter than a body's.
  proto::Writer out;
  out.start(proto::Kind::kQuery, 4).pack_uint64(1);
  out.text("x");
  out.records().write(has_body ? body.data() : "\xC0", has_body ? body.size() : 1);
  proto::Decoder decoder;
  if (auto packet = decoder.decode(out.records().view(), 0); !packet.ok()) {
    throw ValueError(std::string("the arguments of a query: ") + packet.malformed.why);
  }
  return from_body<Value>(wait_for(*core_, Submission::Op::kQuery, what, std::move(body), has_body,
                                   std::move(options)));
}

Value Client::control(std::string_view what, const Value& arguments, CallOptions options) {
  return from_body<Value>(wait_for(*core_, Submission::Op::kControl, what, to_body(arguments), true,
                                   std::move(options)));
}

namespace {

bool was_done(const Value& answer) {
  return answer["done"].as<std::optional<bool>>().value_or(false);
}

}  // namespace

bool Client::pause_type(std::string_view type, std::chrono::milliseconds time,
                        CallOptions options) {
  check_name("type", type);
  if (time.count() < 0 || std::cmp_greater(time.count(), proto::kMaxDuration)) {
    throw ValueError("the pause of " + std::string(type) + " is " + std::to_string(time.count()) +
                     " ms, and has to be from 0 ms to 100 years");
  }
  return was_done(control("pause", map("type", type, "ms", time.count()), std::move(options)));
}

bool Client::unblock(std::string_view type, std::string_view key, CallOptions options) {
  check_name("type", type);
  check_name("key", key);
  return was_done(control("unblock", map("type", type, "key", key), std::move(options)));
}

void Client::clear(std::string_view topic, CallOptions options) {
  wait_for(*core_, Submission::Op::kPublish, topic, {}, false, std::move(options));
}

Subscription Client::subscribe(std::string_view topic, const SubscribeOptions& options) {
  if (options.buffer == 0) throw ValueError("a subscription buffers at least 1 event");
  auto channel = std::make_shared<detail::Channel>(std::string(topic), nullptr, options);
  core_->listen(channel);
  return Subscription(core_, std::move(channel));
}

Subscription Client::subscribe(std::string_view topic, std::function<void(const Event&)> on_event) {
  auto channel = std::make_shared<detail::Channel>(std::string(topic), std::move(on_event),
                                                   SubscribeOptions{});
  core_->listen(channel);
  return Subscription(core_, std::move(channel));
}

Subscription::Subscription(std::shared_ptr<detail::ClientCore> client,
                           std::shared_ptr<detail::Channel> channel)
    : client_(std::move(client)), channel_(std::move(channel)) {}
Subscription::Subscription(Subscription&&) noexcept = default;
Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    close();
    client_ = std::move(other.client_);
    channel_ = std::move(other.channel_);
  }
  return *this;
}
Subscription::~Subscription() { close(); }

std::optional<Event> Subscription::next(std::chrono::milliseconds time) {
  return channel_->next(time);
}

void Subscription::close() {
  if (auto client = std::exchange(client_, nullptr)) client->unlisten(channel_);
}

}  // namespace tusk
