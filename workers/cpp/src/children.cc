#include "children.h"

#include <algorithm>

#include "client_core.h"
#include "notices.h"
#include "run.h"
#include "run_queue.h"

namespace tusk {
namespace detail {
namespace {

using std::chrono::milliseconds;

// A run that is resumed has its results, or they are about to come, by another connection. If they
// do not, the broker was restarted and does not know the children yet: then the run suspends anew,
// after a rest that grows from the one to the other.
constexpr milliseconds kFirstRest{50};
constexpr milliseconds kLastRest{500};

bool is_done(const std::shared_ptr<Pending>& child) {
  std::lock_guard lock(child->mutex);
  return child->done;
}
// The broker takes what it does not know for something that has ended.
bool is_known(const std::shared_ptr<Pending>& child) {
  std::lock_guard lock(child->mutex);
  return child->done || child->taken;
}

void drop_done(Awaiting::Pendings& children) { std::erase_if(children, is_done); }

}  // namespace

Awaiting::Awaiting(Run& run, Notices& notices, std::shared_ptr<RunQueue> queue)
    : run_(&run),
      notices_(notices),
      queue_(std::move(queue)),
      is_item_(run.is_item),
      stop_(run.stop->get_token()) {}

void Awaiting::notify() {
  std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void Awaiting::wait_for(const Pendings& children) {
  std::stop_callback wake(stop_, [this] { notify(); });
  std::unique_lock lock(mutex_);
  Pendings open = children;
  drop_done(open);
  const auto is_stopped = [this] { return stop_.stop_requested(); };
  const auto wait_until_all = [&](const Pendings& some,
                                  bool (*are)(const std::shared_ptr<Pending>&)) {
    changed_.wait(lock, [&] { return is_stopped() || std::all_of(some.begin(), some.end(), are); });
  };
  wait_until_all(open, is_known);
  for (milliseconds rest = kFirstRest; !open.empty() && !is_stopped();) {
    const std::shared_ptr<Suspension> suspension = suspend(open);
    if (!suspension) {
      wait_until_all(open, is_done);
      drop_done(open);
      break;
    }
    changed_.wait(lock, [&] { return is_stopped() || suspension->over; });
    forget(open, *suspension);
    if (suspension->failure) raise(*suspension->failure);
    drop_done(open);
    if (suspension->keeps) {
      wait_until_all(open, is_done);
    } else if (!open.empty() && suspension->over) {
      const auto& named = suspension->named;
      changed_.wait_for(lock, rest, [&] {
        return is_stopped() || std::all_of(named.begin(), named.end(), is_done);
      });
      rest = std::min(2 * rest, kLastRest);
    }
    drop_done(open);
  }
  if (!open.empty()) throw Cancelled();
}

// Under mutex_. Nothing: the run keeps its slot.
std::shared_ptr<Awaiting::Suspension> Awaiting::suspend(const Pendings& children) {
  if (is_item_ || is_over_ || (suspended_ && suspended_->left)) return nullptr;
  if (!suspended_) {
    if (auto queue = queue_.lock()) queue->lend();
    suspended_ = std::make_shared<Suspension>();
    for (const auto& child : children) suspended_->named.push_back(child);
    if (suspended_->named.size() > proto::kMaxAwaited) suspended_->named.resize(proto::kMaxAwaited);
    tell(*suspended_);
  }
  for (const auto& child : children) {
    Child& waited = children_[child.get()];
    waited.pending = child;
    ++waited.waiters;
  }
  return suspended_;
}

// Under mutex_: all that has not ended, as far as one record goes.
void Awaiting::name(Suspension& suspension) const {
  suspension.named.clear();
  for (const auto& [key, child] : children_) {
    if (suspension.named.size() < proto::kMaxAwaited && !is_done(child.pending)) {
      suspension.named.push_back(child.pending);
    }
  }
}

void Awaiting::tell(const Suspension& suspension) {
  std::vector<proto::TaskId> ids;
  for (const auto& child : suspension.named) ids.push_back(proto::TaskId{child->id.bytes});
  notices_.suspend(*run_, std::move(ids));
}

// Under mutex_: what a thread no longer waits for.
void Awaiting::forget(const Pendings& children, Suspension& suspension) {
  for (const auto& child : children) {
    const auto at = children_.find(child.get());
    if (--at->second.waiters == 0) children_.erase(at);
  }
  suspension.left = children_.empty();
}

bool Awaiting::resume(bool keeps, FailurePtr failure) {
  std::lock_guard lock(mutex_);
  return end(keeps, std::move(failure));
}

bool Awaiting::end(bool keeps, FailurePtr failure) {
  if (!suspended_) return false;
  suspended_->over = true;
  suspended_->keeps = keeps;
  suspended_->failure = std::move(failure);
  suspended_ = nullptr;
  if (auto queue = queue_.lock()) queue->take_back();
  changed_.notify_all();
  return true;
}

void Awaiting::suspend_again() {
  std::lock_guard lock(mutex_);
  if (!suspended_) return;
  name(*suspended_);
  if (suspended_->named.empty()) {
    end(false, nullptr);
  } else {
    tell(*suspended_);
  }
}

void Awaiting::run_ended() {
  std::lock_guard lock(mutex_);
  is_over_ = true;
  end(true, nullptr);
}

Awaiting& Children::of(Run& run) {
  std::lock_guard lock(mutex_);
  auto& found = all_[&run];
  if (!found) found = std::make_shared<Awaiting>(run, notices_, queue_.lock());
  run.awaits.store(true, std::memory_order_relaxed);
  return *found;
}

std::shared_ptr<Awaiting> Children::find(const Run& run) {
  std::lock_guard lock(mutex_);
  const auto at = all_.find(&run);
  return at == all_.end() ? nullptr : at->second;
}

void Children::run_ended(Run& run) {
  std::shared_ptr<Awaiting> awaiting;
  {
    std::lock_guard lock(mutex_);
    const auto at = all_.find(&run);
    if (at == all_.end()) return;
    awaiting = std::move(at->second);
    all_.erase(at);
  }
  awaiting->run_ended();
}

bool Children::refused(const Run& run, const proto::Record& error) {
  namespace code = proto::code;
  const bool keeps = error.name == code::kFull || error.name == code::kUnsupported ||
                     error.name == code::kUnknownHandle;
  // An error that is invalid may be about something else that the run said.
  const bool is_wrong = error.name == code::kInvalid && error.value.get("field").text() == "ids";
  if (!keeps && !is_wrong) return false;
  const auto awaiting = find(run);
  if (!awaiting) return false;
  return awaiting->resume(true, keeps ? nullptr : failure_of(error, std::nullopt, url_));
}

std::shared_ptr<ClientCore> Children::client() {
  std::lock_guard lock(mutex_);
  if (is_closed_) throw Closed("closed", "the worker has ended");
  if (!client_) {
    client_ = std::make_shared<ClientCore>(ClientOptions{
        .url = url_, .name = name_, .timeout = kForever, .close_timeout = std::chrono::seconds(1)});
  }
  return client_;
}

void Children::close() {
  std::shared_ptr<ClientCore> client;
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
    client = std::move(client_);
  }
  if (client) client->close();
}

}  // namespace detail

Context::Child Context::hand_over_child(std::string_view type, std::string body,
                                        const CallOptions& options) {
  if (!run_) throw Invalid("invalid", "only the context of a run has children");
  detail::Children& children = *run_->entry->children;
  auto pending = std::make_shared<detail::Pending>();
  pending->awaiting = children.of(*run_).shared_from_this();
  auto client = children.client();
  CallOptions child = options;
  if (!child.id) child.id = TaskId::make();
  pending->id = *child.id;
  detail::Extra extra;
  if (!run_->is_item) extra.parent = id_;
  extra.on_accepted = [pending] { pending->accept(); };
  client->hand_over(
      detail::Submission::Op::kSubmit, type, std::move(body), true, child,
      [pending](const Ending& ending) { pending->finish(ending); }, std::move(extra));
  return {*child.id, std::move(pending), std::move(client)};
}

void Context::wait_for(const std::vector<std::shared_ptr<detail::Pending>>& children) const {
  if (!children.empty()) children.front()->awaiting->wait_for(children);
}

}  // namespace tusk
