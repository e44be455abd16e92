// Ingestion, in C++: takes ranges of rows and streams each row on as an item of its own.
//
// The file of flights is what prepare.py makes of the Parquet file: 16 bytes a row, nothing else,
// little-endian, row 0 first.
//
//   offset  size
//     0      4    minutes since 2001-01-01 00:00, local time
//     4      2    delay in minutes, signed
//     6      2    distance in miles
//     8      4    airport of origin, three letters and a zero
//    12      4    airport of destination, the same
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <latch>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

#include "tusk/client.h"
#include "tusk/worker.h"

namespace {

struct Row {
  std::uint32_t minute;
  std::int16_t delay;
  std::uint16_t distance;
  char origin[4];
  char destination[4];
};
static_assert(sizeof(Row) == 16);

// The item that comes in: rows from .. to - 1 of a file.
struct Range {
  std::string file;
  std::uint64_t from, to;
  tusk::Bytes run;  // names this run of the example: the first 10 bytes of each flight's id
  TUSK_FIELDS(file, from, to, run);
};

// The item that goes out: [minute, delay, distance, origin, destination].
using Flight =
    std::tuple<std::uint32_t, std::int16_t, std::uint16_t, std::string_view, std::string_view>;

// A file that is mapped into memory.
class Rows {
 public:
  explicit Rows(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (fd < 0 || ::fstat(fd, &status) != 0) {
      throw std::system_error(errno, std::generic_category(), path);
    }
    size_ = static_cast<std::size_t>(status.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (data_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), path);
  }
  ~Rows() { ::munmap(data_, size_); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  std::span<const Row> all() const { return {static_cast<const Row*>(data_), size_ / sizeof(Row)}; }

 private:
  void* data_;
  std::size_t size_;
};

// The id of a flight says its row, so a range that is run again pushes the same ids: what the
// broker has already it does not take twice.
tusk::TaskId id_of(const tusk::Bytes& run, std::uint64_t row) {
  tusk::TaskId id;
  std::memcpy(id.bytes.data(), run.data(), 10);
  for (int i = 0; i < 6; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(row >> (8 * i));
  return id;
}

// Waits for the answers to many pushes, and throws the first error among them.
class Answers {
 public:
  explicit Answers(std::uint64_t expected) : missing_(static_cast<std::ptrdiff_t>(expected)) {}

  void add(const tusk::Ending& ending) {
    if (!ending.ok()) std::call_once(failed_, [&] { error_ = ending.error(); });
    missing_.count_down();
  }
  void wait() {
    missing_.wait();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::latch missing_;
  std::once_flag failed_;
  std::exception_ptr error_;
};

// Pushes every row of the range and returns when the broker has accepted all of them. While the
// next stage is full it accepts none, and push() waits: that is the back-pressure.
void stream(tusk::Client& client, const Range& range) {
  const Rows rows(range.file);
  if (range.run.size() != 10 || range.from > range.to || range.to > rows.all().size()) {
    throw tusk::NoRetry("no such rows: " + std::to_string(range.from) + " to " +
                        std::to_string(range.to) + " of " + range.file);
  }
  auto answers = std::make_shared<Answers>(range.to - range.from);
  for (std::uint64_t row = range.from; row < range.to; ++row) {
    const Row& r = rows.all()[row];
    client.push(
        "transformation", Flight{r.minute, r.delay, r.distance, r.origin, r.destination},
        [answers](const tusk::Ending& ending) { answers->add(ending); },
        {.timeout = std::chrono::minutes(2),
         .id = id_of(range.run, row),
         .resent = true,  // perhaps: by a worker that was killed in the middle of this range
         .rerun_ok = true});
  }
  answers->wait();
}

}  // namespace

int main() {
  tusk::Client client;
  // Two ranges at a time: while the last rows of one wait for their answers, the next one flows.
  tusk::Worker worker({.slots = 2, .threads = 2});
  // Nothing is returned: a range ends here, its rows go on.
  worker.stage("stream_processing", [&](const Range& range) { stream(client, range); });
  worker.run();
}
