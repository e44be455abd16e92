// The side of the link: requests become records, records become endings.
#include <unistd.h>

#include <algorithm>

#include "client_core.h"
#include "errors.h"
#include "identity.h"
#include "inflow.h"
#include "proto/lz4.h"
#include "version.h"

namespace tusk::detail {
namespace {

using proto::Attribute;
using proto::Kind;

constexpr std::size_t kRequestBytes = 64;  // of a record, beside its body and its names
constexpr auto kParked = std::chrono::seconds(1);

bool is_task(Submission::Op op) {
  return op == Submission::Op::kSubmit || op == Submission::Op::kPost;
}
// What may be given twice to a broker that may have it: those with an id.
bool has_id(Submission::Op op) { return is_task(op) || op == Submission::Op::kPush; }
// What has the ending of a task as its answer, or may have.
bool gets_ending(Submission::Op op) { return is_task(op) || op == Submission::Op::kAwait; }
bool awaits_accept(Submission::Op op) {
  return op == Submission::Op::kPost || op == Submission::Op::kPush ||
         op == Submission::Op::kPublish;
}

std::optional<TaskId> id_of(const Request& r) {
  using Op = Submission::Op;
  if (has_id(r.op) || r.op == Op::kCancel || r.op == Op::kUpdate || r.op == Op::kAwait) return r.id;
  return std::nullopt;
}

Inflow* inflow_of(const Request& r) { return r.terms ? r.terms->extra.inflow.get() : nullptr; }
// A stream has its whole window then.
void ask_again(Request& r) {
  if (Inflow* inflow = inflow_of(r)) inflow->again();
}

proto::TaskId wire(const TaskId& id) { return proto::TaskId{id.bytes}; }

}  // namespace

std::uint32_t ClientCore::hello_fields() { return 6; }

void ClientCore::pack_hello(proto::Writer& out) {
  const Identity who = Identity::of_this_process();
  out.text("role");
  out.text("client");
  out.text("name");
  out.text(options_.name.empty() ? "cpp-" + std::to_string(who.pid) : options_.name);
  out.text("pid");
  out.packer().pack_uint64(who.pid);
  out.text("pid_ns");
  out.packer().pack_uint64(who.pid_ns);
  out.text("boot_id");
  out.text(who.boot_id);
  out.text("sdk");
  out.text(kSdk);
}

void ClientCore::welcomed(proto::Value fields, bool resumed) {
  rules_ = PayloadRules::of(fields, link_.limits().body);
  body_limit_ = rules_.body;
  session_bytes_ = link_.limits().session_bytes;
  push_window_ = link_.limits().push_window;
  const bool told = !(rules_.types.empty() && rules_.stages.empty() && rules_.topics.empty());
  threshold_ = rules_.lz4 && !told ? std::max<std::size_t>(rules_.threshold, 1) : 0;
  if (!options_.timeout) {
    if (auto timeout = fields.get("timeout").number(); timeout && *timeout > 0) {
      deadlines_.set_default(std::chrono::milliseconds(*timeout));
    }
  }
  if (!resumed) resubmit();
  while (Request* r = parked_.first()) {
    parked_.remove(r);
    r->where = Request::Where::kReady;
    queue_of(*r).add(r);
  }
  epoch_ = link_.epoch();
}

// The session is another one: what has no answer is asked again, first of all.
void ClientCore::resubmit() {
  const bool restarted = epoch_ != 0 && epoch_ != link_.epoch();
  RequestQueue later = std::exchange(ready_, {});
  RequestQueue later_pushes = std::exchange(pushes_, {});
  unanswered_pushes_ = 0;
  for (Request* r : table_.all()) {
    if (r->op == Op::kPublish) {
      fail(r, unavailable(url(),
                          "the broker went away before it answered: whether the event was "
                          "published is not known"));
      continue;
    }
    table_.remove(r);
    r->where = Request::Where::kReady;
    r->resent |= has_id(r->op);
    ask_again(*r);
    queue_of(*r).add(r);
  }
  for (auto [from, to] : {std::pair(&later, &ready_), std::pair(&later_pushes, &pushes_)}) {
    while (Request* r = from->first()) {
      from->remove(r);
      to->add(r);
    }
  }
  if (epoch_ == 0) return;  // the first session: no subscription is lost
  topics_.renew(restarted);
  for (std::string& name : topics_.names()) {
    std::lock_guard pool_lock(mutex_);
    Request* r = pool_.take();
    *r = Request{};
    r->op = Op::kSubscribe;
    r->name = std::move(name);
    r->started = Clock::now();
    r->where = Request::Where::kReady;
    deadlines_.add(r);
    ready_.add(r);
  }
}

bool ClientCore::has_work() {
  return !own_inbox_.empty() || has_inbox_.load(std::memory_order_seq_cst);
}

bool ClientCore::delivered() {
  return !has_work() && ready_.empty() && pushes_.empty() && parked_.empty() &&
         awaiting_accept_ == 0;
}

void ClientCore::make_ready(Request* r) {
  r->where = Request::Where::kReady;
  deadlines_.add(r);
  queue_of(*r).add(r);
  if (awaits_accept(r->op)) ++awaiting_accept_;
}

// What callers and callbacks have handed over is ready to be sent.
void ClientCore::take_inbox() {
  if (has_inbox_.load(std::memory_order_relaxed) || !used_.empty()) {
    std::lock_guard lock(mutex_);
    taken_.swap(inbox_);
    has_inbox_.store(false, std::memory_order_relaxed);
    for (Request* r : used_) pool_.give_back(r);
    used_.clear();
  }
  for (Request* r : own_inbox_) make_ready(r);
  own_inbox_.clear();
  for (Request* r : taken_) make_ready(r);
  taken_.clear();
}

ClientCore::Clock::time_point ClientCore::work(Clock::time_point now) {
  take_inbox();
  if (closing_ && !link_.finishing()) link_.finish(now + options_.close_timeout);
  expire(now);
  if (parked_until_ <= now) {
    parked_until_ = Clock::time_point::max();
    while (Request* r = parked_.first()) {
      parked_.remove(r);
      r->where = Request::Where::kReady;
      queue_of(*r).add(r);
    }
  }
  return std::min(deadlines_.next(), parked_until_);
}

void ClientCore::expire(Clock::time_point now) {
  while (Request* r = deadlines_.due(now)) {
    const auto waited = std::to_string(deadlines_.time_of(*r).count()) + " ms";
    if (r->patient && link_.welcome()) {
      deadlines_.remove(r);
      r->has_timeout = true;
      r->timeout = kForever;
      deadlines_.add(r);
      continue;
    }
    if (!link_.welcome()) {
      fail(r,
           unavailable(url(), "no broker answered at " + url() + " within " + waited, id_of(*r)));
    } else {
      fail(r,
           failure(proto::code::kTimeout,
                   "no answer within " + waited + (gets_ending(r->op) ? "; the task goes on" : ""),
                   id_of(*r)));
    }
  }
}

// What the broker said of such bodies.
PayloadRules::Writing ClientCore::writing_of(const Request& r) const {
  const auto& named = r.op == Op::kPush      ? rules_.stages
                      : r.op == Op::kPublish ? rules_.topics
                                             : rules_.types;
  const auto it = r.op == Op::kUpdate ? named.end() : named.find(r.name);
  return it == named.end() ? PayloadRules::Writing{} : it->second;
}

// Codec, compression and limits, for what was handed over before the broker said its own.
bool ClientCore::prepare(Request* r) {
  if (!r->prepared && r->has_body &&
      (has_id(r->op) || r->op == Op::kPublish || r->op == Op::kUpdate)) {
    std::string body = r->frame ? std::string(r->frame.view()) : std::move(r->body);
    const PayloadRules::Writing told = writing_of(*r);
    if (body.size() <= rules_.body) {
      try {
        r->compressed = write_as(told, r->name, body, rules_);
        r->codec = told.codec;
      } catch (const ValueError& error) {
        fail(r, failure(proto::code::kInvalid, error.what(), id_of(*r)));
        return false;
      }
    }
    r->frame = body.size() >= proto::kFrameBody ? proto::Bytes::copy(body) : proto::Bytes();
    r->body = r->frame ? std::string() : std::move(body);
    r->prepared = true;
  }
  if (r->body_size() <= rules_.body) return true;
  fail(r, failure(proto::code::kTooLarge,
                  "the body has " + std::to_string(r->body_size()) +
                      " bytes, the limit \"body\" is " + std::to_string(rules_.body),
                  id_of(*r), "body", rules_.body));
  return false;
}

void ClientCore::fill(proto::Writer& out, std::uint64_t seq) {
  if (fill_from(ready_, out, seq)) fill_from(pushes_, out, seq);
}

// What was counted when it was handed over; once, however often it is sent.
void ClientCore::leave_queue(Request& r) {
  queued_bytes_.fetch_sub(std::exchange(r.counted, 0), std::memory_order_relaxed);
}

// False: the packet is full.
bool ClientCore::fill_from(RequestQueue& queue, proto::Writer& out, std::uint64_t seq) {
  while (Request* r = queue.first()) {
    if (link_.leaving() && has_id(r->op)) return true;  // they wait for the next broker
    if (r->op == Op::kPush && unanswered_pushes_ >= link_.limits().push_window) return true;
    if (!prepare(r)) continue;
    if (!r->frame && r->has_body && r->body.size() >= link_.frame_body() && r->op != Op::kQuery &&
        r->op != Op::kControl) {
      r->frame = proto::Bytes::copy(r->body);
      r->body.clear();
    }
    const std::size_t bytes = r->body.size() + r->name.size() + kRequestBytes +
                              (r->trace ? r->trace[0].size() + r->trace[1].size() + 16 : 0) +
                              (r->terms ? r->terms->size() : 0);
    if (link_.full(out, bytes, r->frame.size())) return false;
    if (r->op == Op::kCredit) {
      write_credit(out, r);
      continue;
    }
    queue.remove(r);
    leave_queue(*r);
    table_.add(r);
    r->where = Request::Where::kSent;
    r->seq = seq;
    if (r->op == Op::kPush) ++unanswered_pushes_;
    if (Inflow* inflow = inflow_of(*r)) inflow->number = r->number;
    write(out, *r);
  }
  return true;
}

// It has no answer. What was read in an earlier session earns nothing: the stream was asked for
// again.
void ClientCore::write_credit(proto::Writer& out, Request* r) {
  const Extra& extra = r->terms->extra;
  if (extra.inflow->number > 0 && extra.inflow->session() == extra.session) {
    out.credit(extra.inflow->number, wire(r->id), extra.credit);
  }
  finish(r, {}, 0, nullptr);
}

void ClientCore::write(proto::Writer& out, const Request& r) {
  attributes_.clear();
  if (r.op == Op::kPost) attributes_.number(Attribute::kReply, 1);
  if (r.resent) attributes_.flag(Attribute::kResent);
  if (r.rerun_ok) attributes_.flag(Attribute::kRerunOk);
  if (r.codec != 0) attributes_.number(Attribute::kCodec, r.codec);
  if (r.compressed) attributes_.number(Attribute::kCompression, 1);
  if (r.trace) {
    if (!r.trace[0].empty()) attributes_.text(Attribute::kTrace, r.trace[0]);
    if (!r.trace[1].empty()) attributes_.text(Attribute::kBaggage, r.trace[1]);
  }
  if (r.terms) r.terms->write(attributes_, Clock::now() - r.started);
  const proto::BodyOut body = !r.has_body ? proto::BodyOut::none()
                              : r.frame   ? proto::BodyOut{true, {}, r.frame}
                                          : proto::BodyOut::copied(r.body);
  switch (r.op) {
    case Op::kSubmit:
    case Op::kPost:
      out.submit(r.number, wire(r.id), r.name, body, attributes_);
      break;
    case Op::kPush:
      out.push(r.number, wire(r.id), r.name, body, attributes_);
      break;
    case Op::kPublish:
      out.publish(r.number, r.name, body, attributes_);
      break;
    case Op::kUpdate:
      out.update(r.number, wire(r.id), attributes_, r.has_body ? &body : nullptr);
      break;
    case Op::kAwait:
      out.await(r.number, wire(r.id), attributes_);
      break;
    case Op::kCancel:
      out.cancel(r.number, wire(r.id));
      break;
    case Op::kQuery:
    case Op::kControl:
      out.start(r.op == Op::kQuery ? Kind::kQuery : Kind::kControl, r.has_body ? 4 : 3)
          .pack_uint64(r.number);
      out.text(r.name);
      if (r.has_body) out.records().write(r.body.data(), r.body.size());
      break;
    case Op::kSubscribe:
      if (topics_.disconnects(r.name)) {
        attributes_.number(Attribute::kSlow, static_cast<std::uint64_t>(proto::Slow::kDisconnect));
      }
      out.subscribe(r.number, r.name, attributes_);
      break;
    case Op::kUnsubscribe:
      out.unsubscribe(r.number, r.name);
      break;
    case Op::kCredit:  // see write_credit
      break;
  }
}

void ClientCore::record(const proto::Record& record, Incoming& packet) {
  if (record.kind == Kind::kEvent) {
    take_event(record, packet);
    return;
  }
  if (record.kind == Kind::kUnsubscribed) {
    topics_.end(record.name, failure("slow_subscriber", std::string(record.message)));
    return;
  }
  Request* r = table_.find(record.ref);
  if (!r) return;  // its caller waited no longer
  switch (record.kind) {
    case Kind::kResult:
      if (gets_ending(r->op)) take_result(r, record, packet);
      break;
    case Kind::kProgress:
    case Kind::kLog:
      if (r->terms) take_progress(*r, record, packet);
      break;
    case Kind::kChunk:
      if (inflow_of(*r)) take_chunk(r, record, packet);
      break;
    case Kind::kAccepted:
      if (r->terms && r->terms->extra.on_accepted) r->terms->extra.on_accepted();
      if (r->op != Op::kSubmit && r->op != Op::kAwait) finish(r, "\xC0", 0, nullptr);
      break;
    case Kind::kAnswer: {
      proto::Buffer buffer;
      proto::Packer packer(buffer);
      proto::write_value(packer, record.value);
      finish(r, buffer.view(), 0, nullptr);
      break;
    }
    case Kind::kError:
      take_error(r, record);
      break;
    default:
      break;
  }
}

void ClientCore::take_result(Request* r, const proto::Record& record, Incoming& packet) {
  if (!record.fault.empty()) {
    fail(r, failure(record.fault, std::string("the result: ") + record.fault_text, r->id));
    return;
  }
  if (Inflow* inflow = inflow_of(*r)) {
    inflow->take_count(attribute(record, Attribute::kAttempt).number().value_or(0),
                       attribute(record, Attribute::kChunks).number());
  }
  std::optional<TaskId> counts;
  if (record.attributes.all) counts = task_of(record);
  const TaskId* joined = counts ? &*counts : nullptr;
  if (record.state != proto::State::kSucceeded) {
    finish(r, {}, 0, ending_of(record, counts.value_or(r->id)), joined);
    return;
  }
  if (record.body.where == proto::BodyRef::Where::kNone) {
    finish(r, "\xC0", 0, nullptr, joined);
    return;
  }
  const std::string_view body = raw_body(record, packet);
  if (record.attributes.compression == proto::Compression::kNone) {
    finish(r, body, record.attributes.codec, nullptr, joined);
    return;
  }
  if (auto content = proto::lz4_decompress(body, rules_.body)) {
    finish(r, *content, record.attributes.codec, nullptr, joined);
  } else {
    fail(r,
         failure("value",
                 "the result is no LZ4 frame of at most " + std::to_string(rules_.body) + " bytes",
                 r->id));
  }
}

void ClientCore::take_chunk(Request* r, const proto::Record& record, Incoming& packet) {
  if (!record.fault.empty()) {
    fail(r, failure(record.fault, std::string("a chunk: ") + record.fault_text, r->id));
    return;
  }
  Chunk chunk{"\xC0", 0};
  if (record.body.where != proto::BodyRef::Where::kNone) {
    chunk = {std::string(raw_body(record, packet)), record.attributes.codec};
  }
  if (record.attributes.compression != proto::Compression::kNone) {
    auto content = proto::lz4_decompress(chunk.body, rules_.body);
    if (!content) {
      fail(r,
           failure("value",
                   "a chunk is no LZ4 frame of at most " + std::to_string(rules_.body) + " bytes",
                   r->id));
      return;
    }
    chunk.body = std::move(*content);
  }
  inflow_of(*r)->take(attribute(record, Attribute::kAttempt).number().value_or(0),
                      attribute(record, Attribute::kIndex).number().value_or(0), std::move(chunk));
}

void ClientCore::take_progress(const Request& r, const proto::Record& record, Incoming& packet) {
  const auto attempt = attribute(record, Attribute::kAttempt).number().value_or(0);
  try {
    if (record.kind == Kind::kLog) {
      if (r.terms->on_log)
        r.terms->on_log({static_cast<LogLevel>(record.level), record.message, attempt});
      return;
    }
    if (!r.terms->on_progress) return;
    std::string_view body = raw_body(record, packet);
    std::optional<std::string> content;
    if (record.attributes.compression == proto::Compression::kLz4) {
      content = proto::lz4_decompress(body, rules_.body);
      if (!content) throw ValueError("it is no LZ4 frame within the limits");
      body = *content;
    }
    r.terms->on_progress({body, record.attributes.codec, attempt});
  } catch (const std::exception& error) {
    link_.complain("progress or a log line of " + r.name + " " + r.id.hex() + ": " + error.what());
  } catch (...) {
    link_.complain("progress or a log line of " + r.name + " " + r.id.hex() +
                   ": the callback threw what is no std::exception");
  }
}

void ClientCore::take_error(Request* r, const proto::Record& record) {
  if (record.name == proto::code::kShuttingDown && (has_id(r->op) || r->op == Op::kAwait)) {
    // No ending: the same id again when a broker is back, for as long as its caller waits.
    table_.remove(r);
    if (r->op == Op::kPush) --unanswered_pushes_;
    ask_again(*r);
    r->where = Request::Where::kParked;
    r->resent = has_id(r->op);
    parked_.add(r);
    parked_until_ = std::min(parked_until_, Clock::now() + kParked);
    return;
  }
  fail(r, failure_of(record, id_of(*r), url()));
}

void ClientCore::take_event(const proto::Record& record, Incoming& packet) {
  const Topics::Channels channels = topics_.of_topic(record.name);
  if (channels.empty()) return;
  Event event;
  event.topic = record.name;
  event.sequence = record.ref;
  event.missed = attribute(record, Attribute::kMissed).number().value_or(0);
  event.retained = attribute(record, Attribute::kRetained).boolean().value_or(false);
  event.codec = static_cast<unsigned>(record.attributes.codec);
  const std::string_view body = raw_body(record, packet);
  if (record.body.where == proto::BodyRef::Where::kNone) {
    event.body = "\xC0";
  } else if (record.attributes.compression == proto::Compression::kNone) {
    event.body = body;
  } else if (auto content = proto::lz4_decompress(body, rules_.body)) {
    event.body = std::move(*content);
  } else {
    link_.complain("an event of " + event.topic + " is no LZ4 frame within the limits");
    return;
  }
  for (auto& channel : channels) {
    if (!channel->deliver(event)) unlisten(channel);
  }
}

bool ClientCore::refused_packet(std::uint64_t seq, const proto::Record& error) {
  bool any = false;
  for (Request* r : table_.all()) {
    if (r->seq != seq) continue;
    fail(r, failure_of(error, id_of(*r), url()));
    any = true;
  }
  return any;
}

void ClientCore::refused(std::string_view code, std::string_view message) {
  const auto error = [&](Request* r) { return failure(code, std::string(message), id_of(*r)); };
  take_inbox();  // what was handed over before the broker said so, too
  for (RequestQueue* queue : {&ready_, &pushes_, &parked_}) {
    while (Request* r = queue->first()) fail(r, error(r));
  }
  for (Request* r : table_.all()) fail(r, error(r));
  link_.complain(url() + " refuses this client: " + std::string(message));
}

void ClientCore::dropped(std::uint64_t seq) {
  for (Request* r : table_.all()) {
    if (r->seq != seq || !r->frame) continue;
    fail(r, failure(proto::code::kTooLarge,
                    "the broker ended the connection each time that this body of " +
                        std::to_string(r->body_size()) + " bytes was sent",
                    id_of(*r), "body", rules_.body));
  }
}

// Out of whatever it is in.
void ClientCore::take_out(Request* r) {
  deadlines_.remove(r);
  if (awaits_accept(r->op)) --awaiting_accept_;
  switch (r->where) {
    case Request::Where::kReady:
      queue_of(*r).remove(r);
      leave_queue(*r);
      break;
    case Request::Where::kParked:
      parked_.remove(r);
      break;
    case Request::Where::kSent:
      table_.remove(r);
      if (r->op == Op::kPush) --unanswered_pushes_;
      break;
    case Request::Where::kFree:
      break;
  }
  r->where = Request::Where::kFree;
}

void ClientCore::finish(Request* r, std::string_view body, unsigned codec, FailurePtr failure,
                        const TaskId* joined) {
  take_out(r);
  if (r->op == Op::kPush) {
    std::lock_guard lock(push_mutex_);
    --pushes_pending_;
    push_changed_.notify_one();
  }
  const Callback done = std::move(r->done);
  const Ending ending(r->id, body, codec, std::move(failure), joined);
  used_.push_back(r);
  if (done) {
    // An exception that leaves a callback has nobody to catch it: it ends the program.
    [&]() noexcept { done(ending); }();
  } else if (!ending.ok() && r->op == Op::kSubscribe) {
    topics_.end(r->name, ending.failure());
    link_.complain("subscribing to " + r->name + " again failed");
  }
}

}  // namespace tusk::detail
