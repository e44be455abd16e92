// A client's requests from their hand-over to their answer: their numbers, their order, their time.
// Belongs to the client's link thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/bytes.h"
#include "terms.h"
#include "tusk/client.h"

namespace tusk {

struct Request {
  using Clock = std::chrono::steady_clock;
  using Op = detail::Submission::Op;
  enum class Where : std::uint8_t { kFree, kReady, kSent, kParked };

  Op op = Op::kSubmit;
  Where where = Where::kFree;
  bool has_body = false;
  bool prepared = false;  // compressed, and held against the limit
  bool compressed = false;
  unsigned codec = 0;  // how the body is written
  bool resent = false;
  bool rerun_ok = false;
  bool has_timeout = false;
  bool patient = false;  // its time-out is for the broker to be there
  TaskId id;
  std::string name;
  std::string body;                      // small ones
  proto::Bytes frame;                    // large ones
  std::unique_ptr<std::string[]> trace;  // trace and baggage, seldom there
  std::unique_ptr<Terms> terms;          // seldom there
  Callback done;
  Clock::time_point started{};
  std::chrono::milliseconds timeout{0};  // if has_timeout

  std::size_t counted = 0;  // its cost(), while it is counted

  std::uint64_t number = 0;  // kSent: under which it is asked
  std::uint64_t seq = 0;     // kSent: the packet that it is in

  // Lists, both ways: the order of sending (kReady, kParked), and that of deadlines.
  Request* before = nullptr;
  Request* behind = nullptr;
  Request* earlier = nullptr;
  Request* later = nullptr;

  std::size_t body_size() const { return frame ? frame.size() : body.size(); }
  // What it takes while it waits to be sent: the bound of what is handed over counts this.
  std::size_t cost() const { return body_size() + name.size() + 256 + (terms ? terms->size() : 0); }
};

// First come, first served; anything can be taken out of the middle.
class RequestQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  std::size_t size() const { return size_; }
  Request* first() const { return first_; }
  void add(Request* r);
  void remove(Request* r);

 private:
  Request* first_ = nullptr;
  Request* last_ = nullptr;
  std::size_t size_ = 0;
};

// Requests under their numbers. Numbers count up and leave out those whose place is still taken, so
// that a place is found without a search.
class RequestTable {
 public:
  // The number is given to it.
  void add(Request* r);
  void remove(Request* r) {
    places_[r->number & mask_] = nullptr;
    --size_;
  }
  Request* find(std::uint64_t number) const {
    Request* r = places_[number & mask_];
    return r && r->number == number ? r : nullptr;
  }
  std::size_t size() const { return size_; }
  // All, in the order of their numbers.
  std::vector<Request*> all() const;

 private:
  void grow();

  std::vector<Request*> places_ = std::vector<Request*>(1024);
  std::uint64_t mask_ = 1023;
  std::uint64_t last_ = 0;
  std::size_t size_ = 0;
};

// Deadlines. One list per length of time: within it whoever came first is due first, so adding and
// removing take no search, however many there are.
class Deadlines {
 public:
  using Clock = Request::Clock;

  // How long those wait that have no time-out of their own.
  void set_default(std::chrono::milliseconds time) { default_ = time; }
  std::chrono::milliseconds default_time() const { return default_; }
  std::chrono::milliseconds time_of(const Request& r) const {
    return r.has_timeout ? r.timeout : default_;
  }
  void add(Request* r);
  void remove(Request* r);
  // One whose time is over, or nothing. It stays in until it is removed.
  Request* due(Clock::time_point now) const;
  Clock::time_point next() const;

 private:
  struct List {
    Request* first = nullptr;
    Request* last = nullptr;
  };
  static constexpr std::int64_t kDefault = -1;
  static std::int64_t key(const Request& r) { return r.has_timeout ? r.timeout.count() : kDefault; }
  Clock::time_point deadline(const Request& r) const;

  std::map<std::int64_t, List> lists_;
  std::chrono::milliseconds default_{5'000};
};

// Requests that are used again, so that a steady client allocates none.
class RequestPool {
 public:
  Request* take();
  void give_back(Request* r);
  // For one that is used again at once.
  static void clean(Request& r);

 private:
  std::vector<std::unique_ptr<Request[]>> slabs_;
  std::vector<Request*> free_;
};

}  // namespace tusk
