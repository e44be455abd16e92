// What a worker says about itself: hello, claims after a reconnect, and its end.
#include <cstdio>
#include <cstring>
#include <unordered_map>

#include "errors.h"
#include "identity.h"
#include "labels.h"
#include "payload.h"
#include "signals.h"
#include "version.h"
#include "worker_core.h"

namespace tusk::detail {
namespace {

struct IdHash {
  std::size_t operator()(const TaskId& id) const { return proto::TaskId{id.bytes}.hash(); }
};

}  // namespace

WorkerCore::WorkerCore(std::shared_ptr<WorkerState> state)
    : state_(std::move(state)),
      queue_(std::make_shared<RunQueue>(state_->wake, state_->rules, state_)),
      link_(state_->options.url, *this, state_->wake) {}

void WorkerCore::run() {
  std::unique_ptr<StopSignals> signals;
  if (state_->options.handle_signals) signals = std::make_unique<StopSignals>(state_->wake);
  signals_ = signals.get();
  queue_->start(state_->options.threads);
  state_->children.use(queue_);
  link_.run();
  state_->children.close();
  signals_ = nullptr;
  // A handler that runs on past stop_timeout keeps its thread, and what it uses; the broker has
  // requeued its task at our bye.
  queue_->stop(open_ == 0);
  if (refusal_) raise(*refusal_);
}

std::uint32_t WorkerCore::hello_fields() {
  return 9u + (state_->options.pool.empty() ? 0 : 1) + (state_->tasks.empty() ? 0 : 1) +
         (state_->stages.empty() ? 0 : 1) + (state_->options.labels.empty() ? 0 : 1);
}

void WorkerCore::pack_hello(proto::Writer& out) {
  const Identity who = Identity::of_this_process();
  const WorkerOptions& options = state_->options;
  proto::Packer& packer = out.packer();
  out.text("role");
  out.text("worker");
  out.text("name");
  out.text(options.name.empty() ? "cpp-" + std::to_string(who.pid) : options.name);
  if (!options.pool.empty()) {
    out.text("pool");
    out.text(options.pool);
  }
  out.text("pid");
  packer.pack_uint64(who.pid);
  out.text("pid_ns");
  packer.pack_uint64(who.pid_ns);
  out.text("boot_id");
  out.text(who.boot_id);
  out.text("sdk");
  out.text(kSdk);
  out.text("slots");
  packer.pack_uint64(options.slots);
  if (!options.labels.empty()) {
    out.text("labels");
    write_labels(packer, options.labels);
  }
  out.text("capabilities");
  packer.pack_array(1);
  out.text("lookahead");
  for (auto [key, all] :
       {std::pair("types", &state_->tasks), std::pair("handlers", &state_->stages)}) {
    if (all->empty()) continue;
    out.text(key);
    packer.pack_array(static_cast<std::uint32_t>(all->size()));
    for (const auto& [name, entry] : *all) out.text(name);
  }
  // Runs without an answer, and answers that were not acknowledged.
  out.text("claims");
  packer.pack_array(static_cast<std::uint32_t>(live_));
  for (Run* run = first_; run; run = run->behind) {
    packer.pack_array(4);
    packer.pack_bin(16).pack_bin_body(reinterpret_cast<const char*>(run->id.bytes.data()), 16);
    packer.pack_uint64(run->attempt);
    out.text(run->entry ? std::string_view(run->entry->name) : std::string_view("?"));
    run->is_item ? packer.pack_true() : packer.pack_false();
  }
}

void WorkerCore::welcomed(proto::Value fields, bool resumed) {
  const PayloadRules rules = PayloadRules::of(fields, link_.limits().body);
  state_->rules->body = rules.body;
  state_->rules->checkpoint = link_.limits().checkpoint;
  state_->readiness.set(true);
  state_->rules->threshold = rules.lz4 ? std::max<std::size_t>(rules.threshold, 1) : 0;
  if (auto grace = fields.get("adopt_grace").number()) {
    adopt_grace_ = std::chrono::milliseconds(*grace);
  }
  if (!resumed) {
    adopt_claims(fields.get("claims"));
    tell_slots_ = stopping_;
  }
}

// Another session: the old handles mean nothing. Each run gets its new one, or goes.
void WorkerCore::adopt_claims(proto::Value claims) {
  acknowledged_ = 0;
  std::unordered_map<TaskId, std::uint64_t, IdHash> handles;
  for (proto::Value claim : claims.items()) {
    TaskId id;
    std::optional<std::uint64_t> handle;
    std::size_t index = 0;
    for (proto::Value part : claim.items()) {
      if (index == 0) {
        if (auto bytes = part.binary(); bytes && bytes->size() == 16) {
          std::memcpy(id.bytes.data(), bytes->data(), 16);
        }
      } else if (index == 1) {
        handle = part.number();
      }
      ++index;
    }
    if (handle) handles.emplace(id, *handle);
  }

  returned_.clear();
  ready_.clear();
  sent_.clear();
  for (Run* run = first_; run;) {
    Run* next = run->behind;
    const auto at = handles.find(run->id);
    if (at != handles.end()) {
      // Two runs of one id: the later one, which comes first here, is the one that is meant.
      run->handle = at->second;
      state_->notices.keep_again(*run);
      if (auto awaiting = state_->children.find(*run)) awaiting->suspend_again();
      handles.erase(at);
      if (run->answer != Run::Answer::kOpen) {
        run->answer = Run::Answer::kReady;
        ready_.push_back(run);
      }
    } else {
      run->cancel_reason.store("moved", std::memory_order_release);
      run->cancelled.store(true, std::memory_order_release);
      if (!run->withdraw() && run->stop) run->stop->request_stop();
      forget(run);
    }
    run = next;
  }
}

void WorkerCore::begin_stop(Clock::time_point now) {
  stopping_ = true;
  tell_slots_ = true;
  stop_by_ = now + state_->options.stop_timeout;
  Returned back{0, {}};
  for (Run* run = first_; run;) {
    Run* next = run->behind;
    if (run->answer == Run::Answer::kOpen && run->withdraw()) {
      back.handles.push_back(run->handle);
      forget(run);
    }
    run = next;
  }
  // Gathered ones were withdrawn too: let them pass through the queue, which lets go of them.
  for (Entry* entry : gathering_) queue_->add_batch(*entry, entry->gathered);
  gathering_.clear();
  if (!back.handles.empty()) returned_.push_back(std::move(back));
}

bool WorkerCore::delivered() {
  if (!stopping_) return true;
  return (open_ == 0 || past_stop()) && ready_.empty() && returned_.empty();
}

void WorkerCore::refused(std::string_view code, std::string_view message) {
  refusal_ = failure(code, std::string(message));
  begin_stop(now_);
  stop_by_ = now_;
  link_.finish(now_);
}

}  // namespace tusk::detail
