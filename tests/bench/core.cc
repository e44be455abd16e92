// What one task costs the broker core alone: no sockets, no threads, one client and one worker
// whose packets are made and read outside of the measured time.
//
//   tusk_core_bench [SECONDS]     default 2; prints nanoseconds per task, submit to acknowledged
//   result
//
// 1,000 tasks in flight, bodies of 100 bytes, packets of 250 records.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/core/broker.h"

using namespace tusk;
using proto::BodyOut;
using proto::Kind;
using proto::Writer;

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kInFlight = 1000;
constexpr size_t kPacket = 250;
constexpr size_t kBody = 100;

// One side of a session: numbers its packets and acknowledges the broker's.
struct Peer {
  core::ConnectionId connection;
  uint64_t session = 0, sent = 0, received = 0;
  proto::Decoder decoder{};

  std::string hello(bool works) const {
    Writer out;
    proto::Packer& p = out.start(Kind::kHello, 3);
    p.pack_uint64(1);
    p.pack_map(works ? 9 : 5);
    auto key = [&](const char* name) { out.text(name); };
    key("role"), out.text(works ? "worker" : "client");
    key("instance"), p.pack_bin(16);
    p.pack_bin_body(std::string(16, works ? 'w' : 'c').data(), 16);
    key("language"), out.text("cpp");
    key("acks"), p.pack_true();
    key("name"), out.text(works ? "worker" : "client");
    if (works) {
      key("types"), p.pack_array(1);
      out.text("echo");
      key("handlers"), p.pack_array(0);
      key("slots"), p.pack_uint64(kInFlight);
      key("claims"), p.pack_array(0);
    }
    return std::string(out.records().view());
  }
};

class Bench {
 public:
  Bench() : broker_(surroundings(), {}) {}

  int run(double seconds) {
    for (Peer* peer : {&worker_, &client_}) {
      const std::string hello = peer->hello(peer == &worker_);
      deliver(*peer, hello);
      flush();
    }
    for (size_t i = 0; i < kInFlight; ++i) submit();
    const auto start = Clock::now();
    const double warm = 0.2 * seconds;
    size_t before = 0;
    Clock::duration core_before{};
    for (;;) {
      round();
      const double past = std::chrono::duration<double>(Clock::now() - start).count();
      if (before == 0 && past > warm) {
        before = done_;
        core_before = core_;
      }
      if (past > seconds) break;
    }
    const double spent = std::chrono::duration<double, std::nano>(core_ - core_before).count();
    std::printf("%.0f ns per task (%zu tasks)\n", spent / static_cast<double>(done_ - before),
                done_ - before);
    return 0;
  }

 private:
  static core::Surroundings surroundings() {
    core::Surroundings around;
    around.config = std::make_shared<config::Orchestration>();
    return around;
  }

  // What both peers gathered goes to the broker; what it sends makes them gather more.
  void round() {
    send(client_, to_client_);
    send(worker_, to_worker_);
    flush();
  }

  void send(Peer& peer, std::vector<std::string>& packets) {
    std::vector<std::string> out;
    out.swap(packets);
    for (std::string& packet : out) deliver(peer, packet);
    Writer& rest = &peer == &client_ ? submits_ : results_;
    if (rest.empty()) return;
    close(peer, rest, packets);
    out.swap(packets);
    for (std::string& packet : out) deliver(peer, packet);
  }

  void close(Peer& peer, Writer& out, std::vector<std::string>& packets) {
    std::string& packet = packets.emplace_back(out.records().view());
    Writer::fill_header(packet.data(), peer.session, ++peer.sent, peer.received);
    out.clear();
  }

  Writer& writer(Peer& peer, Writer& out, std::vector<std::string>& packets) {
    if (out.count() >= kPacket) close(peer, out, packets);
    if (out.empty()) out.reserve_header();
    return out;
  }

  void submit() {
    const auto id = TaskId::make_v7(1'700'000'000'000 + serial_ / 250, random_(), random_());
    ++serial_;
    writer(client_, submits_, to_client_).submit(serial_, id, "echo", BodyOut::copied(body_), {});
  }

  void deliver(Peer& peer, std::string_view records) {
    const auto start = Clock::now();
    now_ += std::chrono::microseconds(100);
    broker_.handle(core::PacketReceived{peer.connection, records, {}, {}}, now_, actions_);
    core_ += Clock::now() - start;
  }

  void flush() {
    const auto start = Clock::now();
    broker_.flush(now_, actions_);
    core_ += Clock::now() - start;
    std::vector<core::Send> sends;
    sends.swap(actions_.sends);
    actions_.clear();
    for (core::Send& send : sends) {
      receive(send.connection == worker_.connection ? worker_ : client_, send.records.view());
    }
    const auto freed = Clock::now();
    sends.clear();
    core_ += Clock::now() - freed;
  }

  void receive(Peer& peer, std::string_view records) {
    const proto::Decoded packet = peer.decoder.decode(records, 0);
    if (!packet.ok()) std::abort();
    for (const proto::Record& r : packet.records) {
      switch (r.kind) {
        case Kind::kHeader:
          peer.received = r.seq;
          break;
        case Kind::kWelcome:
          peer.session = *r.value.get("session").number();
          break;
        case Kind::kTask:
          writer(worker_, results_, to_worker_)
              .result(r.ref, proto::State::kSucceeded, BodyOut::copied(r.body.inline_bytes), {});
          break;
        case Kind::kResult:
          ++done_;
          submit();
          break;
        default:
          std::fprintf(stderr, "unexpected: %s\n", std::string(r.message).c_str());
          std::exit(1);
      }
    }
  }

  using TaskId = proto::TaskId;
  core::Broker broker_;
  core::Actions actions_;
  core::Time now_{};
  Peer worker_{.connection = 0}, client_{.connection = 1};
  Writer submits_, results_;
  std::vector<std::string> to_client_, to_worker_;  // closed packets of each side
  std::mt19937_64 random_{1};
  const std::string body_ = std::string(kBody, 'x');
  uint64_t serial_ = 0;
  size_t done_ = 0;
  Clock::duration core_{};
};

}  // namespace

int main(int argc, char** argv) { return Bench().run(argc > 1 ? std::atof(argv[1]) : 2.0); }
