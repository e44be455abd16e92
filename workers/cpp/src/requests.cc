#include "requests.h"

#include <algorithm>

namespace tusk {

void RequestQueue::add(Request* r) {
  r->before = last_;
  r->behind = nullptr;
  (last_ ? last_->behind : first_) = r;
  last_ = r;
  ++size_;
}

void RequestQueue::remove(Request* r) {
  (r->before ? r->before->behind : first_) = r->behind;
  (r->behind ? r->behind->before : last_) = r->before;
  r->before = r->behind = nullptr;
  --size_;
}

void RequestTable::add(Request* r) {
  if (2 * (size_ + 1) > places_.size()) grow();
  do {
    ++last_;
  } while (places_[last_ & mask_] != nullptr);
  r->number = last_;
  places_[last_ & mask_] = r;
  ++size_;
}

void RequestTable::grow() {
  std::vector<Request*> old(places_.size() * 2);
  old.swap(places_);
  mask_ = places_.size() - 1;
  // Numbers that differ in their low bits still do with one bit more.
  for (Request* r : old) {
    if (r) places_[r->number & mask_] = r;
  }
}

std::vector<Request*> RequestTable::all() const {
  std::vector<Request*> out;
  out.reserve(size_);
  for (Request* r : places_) {
    if (r) out.push_back(r);
  }
  std::sort(out.begin(), out.end(),
            [](const Request* a, const Request* b) { return a->number < b->number; });
  return out;
}

void Deadlines::add(Request* r) {
  List& list = lists_[key(*r)];
  r->earlier = list.last;
  r->later = nullptr;
  (list.last ? list.last->later : list.first) = r;
  list.last = r;
}

void Deadlines::remove(Request* r) {
  const auto at = lists_.find(key(*r));
  List& list = at->second;
  (r->earlier ? r->earlier->later : list.first) = r->later;
  (r->later ? r->later->earlier : list.last) = r->earlier;
  r->earlier = r->later = nullptr;
  // The default's list stays: it is the one that fills and empties all the time.
  if (!list.first && at->first != kDefault) lists_.erase(at);
}

Deadlines::Clock::time_point Deadlines::deadline(const Request& r) const {
  const auto time = time_of(r);
  if (time >= std::chrono::hours(24 * 365 * 100)) return Clock::time_point::max();  // kForever
  return r.started + time;
}

Request* Deadlines::due(Clock::time_point now) const {
  for (const auto& [key, list] : lists_) {
    if (list.first && deadline(*list.first) <= now) return list.first;
  }
  return nullptr;
}

Deadlines::Clock::time_point Deadlines::next() const {
  auto next = Clock::time_point::max();
  for (const auto& [key, list] : lists_) {
    if (list.first) next = std::min(next, deadline(*list.first));
  }
  return next;
}

Request* RequestPool::take() {
  if (free_.empty()) {
    constexpr std::size_t kSlab = 256;
    slabs_.push_back(std::make_unique<Request[]>(kSlab));
    for (std::size_t i = kSlab; i > 0; --i) free_.push_back(&slabs_.back()[i - 1]);
  }
  Request* r = free_.back();
  free_.pop_back();
  return r;
}

void RequestPool::give_back(Request* r) {
  clean(*r);
  free_.push_back(r);
}

void RequestPool::clean(Request& r) {
  r.where = Request::Where::kFree;
  r.done = nullptr;
  r.frame = proto::Bytes();
  r.trace.reset();
  r.terms.reset();
}

}  // namespace tusk
