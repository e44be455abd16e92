#include "scripted_broker.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

namespace tusk::test {
namespace {

constexpr long kPatienceMs = 10'000;

}  // namespace

ScriptedBroker::ScriptedBroker() {
  static std::atomic<int> count{0};
  url_ = "ipc://" + (std::filesystem::temp_directory_path() /
                     ("tusk-test-" + std::to_string(getpid()) + "-" + std::to_string(++count)))
                        .string();
  bind();
}

ScriptedBroker::~ScriptedBroker() {
  stop();
  std::filesystem::remove(url_.substr(6));
}

void ScriptedBroker::bind() {
  context_ = zmq_ctx_new();
  router_ = zmq_socket(context_, ZMQ_ROUTER);
  const int one = 1, zero = 0;
  zmq_setsockopt(router_, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
  zmq_setsockopt(router_, ZMQ_LINGER, &zero, sizeof zero);
  ASSERT_EQ(zmq_bind(router_, url_.c_str()), 0) << zmq_strerror(zmq_errno());
}

void ScriptedBroker::stop() {
  if (!router_) return;
  zmq_close(router_);
  zmq_ctx_term(context_);
  router_ = context_ = nullptr;
}

void ScriptedBroker::restart() {
  stop();
  pending_.clear();
  peer_.clear();
  left_.clear();
  kept_.clear();
  bind();
}

struct ScriptedBroker::Left {
  std::uint64_t session = 0, out_seq = 0, in_seq = 0, peer_ack = 0;
  bool acknowledges = true;
  std::string peer;
  std::vector<Json> pending, skipped;
  std::vector<std::vector<std::string>> kept;
};

void ScriptedBroker::swap(Left& other) {
  std::swap(session, other.session);
  std::swap(out_seq, other.out_seq);
  std::swap(in_seq, other.in_seq);
  std::swap(peer_ack, other.peer_ack);
  std::swap(acknowledges, other.acknowledges);
  std::swap(peer_, other.peer);
  std::swap(pending_, other.pending);
  std::swap(skipped_, other.skipped);
  std::swap(kept_, other.kept);
}

ScriptedBroker::Peer ScriptedBroker::leave() { return switch_to(std::make_shared<Left>()); }

ScriptedBroker::Peer ScriptedBroker::switch_to(const Peer& peer) {
  std::erase(left_, peer);
  auto left = std::make_shared<Left>(*peer);
  swap(*left);
  left_.push_back(left);
  return left;
}

bool ScriptedBroker::receive(std::vector<std::string>& frames, long milliseconds) {
  zmq_pollitem_t item{router_, 0, ZMQ_POLLIN, 0};
  if (zmq_poll(&item, 1, milliseconds) <= 0) return false;
  frames.clear();
  int more = 1;
  while (more) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, router_, 0) < 0) return false;
    frames.emplace_back(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    more = zmq_msg_more(&message);
    zmq_msg_close(&message);
  }
  return true;
}

Json ScriptedBroker::next_packet() {
  std::vector<std::string> frames;
  while (frames.empty()) {
    if (!kept_.empty()) {
      frames = std::move(kept_.front());
      kept_.erase(kept_.begin());
      break;
    }
    if (!receive(frames, kPatienceMs)) {
      ADD_FAILURE() << "no packet came";
      return nullptr;
    }
    for (const Peer& left : left_) {
      if (left->peer != frames[0]) continue;
      left->kept.push_back(std::move(frames));
      frames.clear();
      break;
    }
  }
  const std::string from = frames[0];
  frames.erase(frames.begin());
  std::vector<std::string_view> bodies(frames.begin() + 1, frames.end());
  auto json = proto::packet_to_json(frames[0], bodies);
  EXPECT_TRUE(json) << "the peer's packet is malformed: " << proto::hex_encode(frames[0]);
  if (!json) return nullptr;
  const Json& first = (*json)["records"][0];
  if (first[0] == "hello") peer_ = from;
  if (first[0] == "header") {
    if (first[1] == session && first[2] != 0) in_seq = first[2];
    if (first[1] == session) peer_ack = first[3];
  }
  last_packet = frames;
  return *json;
}

Json ScriptedBroker::hello() {
  for (;;) {
    Json packet = next_packet();
    if (packet.is_null()) return Json::object();
    const Json& records = packet["records"];
    if (records[0][0] != "hello") continue;
    EXPECT_EQ(records.size(), 1u) << "hello travels alone";
    EXPECT_EQ(records[0][1], 1);
    pending_.clear();
    return records[0][2];
  }
}

void ScriptedBroker::welcome(Json fields) {
  Json all{{"session", ++sessions_},
           {"epoch", 77},
           {"resumed", false},
           {"ack", 0},
           {"limits", Json::object()},
           {"endpoints", Json::object()},
           {"timeout", 5000},
           {"compression", "none"},
           {"compression_threshold", 4096},
           {"session_ttl", 60000},
           {"adopt_grace", 10000},
           {"claims", Json::array()},
           {"server", "scripted"}};
  for (const auto& [key, value] : fields.items()) all[key] = value;
  if (!all["resumed"].get<bool>()) out_seq = in_seq = peer_ack = 0;
  session = all["session"];
  send_bare({{"welcome", 1, all}});
}

Json ScriptedBroker::next(const std::string& kind) {
  for (;;) {
    while (!pending_.empty()) {
      Json record = pending_.front();
      pending_.erase(pending_.begin());
      if (record[0] == kind) return record;
      if (record[0] != "header") skipped_.push_back(record);
    }
    Json packet = next_packet();
    if (packet.is_null()) {
      ADD_FAILURE() << "while waiting for " << kind;
      return Json::array({kind, 0, 0, 0, 0, 0, 0});
    }
    for (const Json& record : packet["records"]) pending_.push_back(record);
  }
}

bool ScriptedBroker::silent_for(std::chrono::milliseconds time) {
  for (const Json& record : pending_) {
    if (record[0] != "header") return false;
  }
  const auto until = std::chrono::steady_clock::now() + time;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    zmq_pollitem_t item{router_, 0, ZMQ_POLLIN, 0};
    if (zmq_poll(&item, 1, left.count()) <= 0) return true;
    Json packet = next_packet();
    if (packet["records"].size() > 1 || packet["records"][0][0] != "header") return false;
  }
}

void ScriptedBroker::send_frames(const std::vector<std::string>& frames) {
  // The connection may be a moment younger than its hello: wait for it, not for a time.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (zmq_send(router_, peer_.data(), peer_.size(), ZMQ_SNDMORE) < 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << zmq_strerror(zmq_errno());
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    zmq_send(router_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
  }
}

void ScriptedBroker::send(const std::vector<Json>& records,
                          const std::vector<std::string>& frames) {
  Json packet{{"records", Json::array()}, {"frames", Json::array()}};
  packet["records"].push_back({"header", session, ++out_seq, acknowledges ? in_seq : 0});
  for (const Json& record : records) packet["records"].push_back(record);
  std::vector<std::string> all{proto::packet_from_json(packet).records};
  all.insert(all.end(), frames.begin(), frames.end());
  send_frames(all);
}

void ScriptedBroker::acknowledge() { send_bare({{"header", session, 0, in_seq}}); }

void ScriptedBroker::acknowledge_for(std::chrono::milliseconds time) {
  std::vector<std::string> frames;
  if (!router_ || !receive(frames, time.count())) return;
  const std::vector<std::string_view> bodies(frames.begin() + 2, frames.end());
  const auto json = proto::packet_to_json(frames[1], bodies);
  if (!json) return;
  const Json& first = (*json)["records"][0];
  if (first[0] != "header" || first[1] != session || first[2] == 0) return;
  in_seq = first[2];
  const Json ack = {{"records", {{"header", session, 0, in_seq}}}, {"frames", Json::array()}};
  const std::string bytes = proto::packet_from_json(ack).records;
  // Behind its bye the peer may be gone.
  if (zmq_send(router_, peer_.data(), peer_.size(), ZMQ_SNDMORE) < 0) return;
  zmq_send(router_, bytes.data(), bytes.size(), 0);
}

void ScriptedBroker::send_bare(const std::vector<Json>& records) {
  Json packet{{"records", records}, {"frames", Json::array()}};
  send_frames({proto::packet_from_json(packet).records});
}

void ScriptedBroker::send_bytes(const std::string& bytes) { send_frames({bytes}); }

}  // namespace tusk::test
