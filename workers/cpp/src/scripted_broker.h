// A broker for tests that does what the test says and nothing else: a real ROUTER socket that
// speaks SPEC.md, for what a real broker seldom does. Used by one thread, the test's.
//
//   ScriptedBroker broker;
//   tusk::Client client(broker.url());
//   broker.hello();
//   broker.welcome();
//   Json submit = broker.next("submit");
//   broker.send({{"result", submit[1], 1, {{"hex", "01"}}}});
#pragma once

#include <zmq.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "proto/json.h"
#include "tusk/convert.h"

namespace tusk::test {

using proto::Json;

class ScriptedBroker {
 public:
  ScriptedBroker();
  ~ScriptedBroker();
  ScriptedBroker(const ScriptedBroker&) = delete;
  ScriptedBroker& operator=(const ScriptedBroker&) = delete;

  const std::string& url() const { return url_; }

  // It speaks with one peer at a time. Leaves that one alone, whose packets are kept, so that
  // another may say hello(); switch_to() goes back.
  struct Left;
  using Peer = std::shared_ptr<Left>;
  Peer leave();
  // Returns the one that it spoke with.
  Peer switch_to(const Peer& peer);

  // Waits for the peer's hello, which must be alone in its packet, and returns its fields. What the
  // peer sent before on an old connection is skipped.
  Json hello();
  // Answers it. `fields` replace or add to those of an ordinary welcome; a new session, unless they
  // say `resumed`.
  void welcome(Json fields = Json::object());

  // The next record of this kind; others are skipped, and kept in skipped(). Fails the test after
  // ten seconds.
  Json next(const std::string& kind);
  // The next packet, header and all. Null after ten seconds.
  Json next_packet();
  // Whether nothing but lone headers comes for so long.
  bool silent_for(std::chrono::milliseconds time);
  const std::vector<Json>& skipped() const { return skipped_; }
  void forget_skipped() { skipped_.clear(); }

  // A packet of these records, with the session's header in front. `frames` are the body frames.
  void send(const std::vector<Json>& records, const std::vector<std::string>& frames = {});
  // A header that acknowledges all that came.
  void acknowledge();
  // Acknowledges whatever comes, for so long, and looks at nothing.
  void acknowledge_for(std::chrono::milliseconds time);
  // Exactly these records, or bytes, without a header.
  void send_bare(const std::vector<Json>& records);
  void send_bytes(const std::string& bytes);

  // Ends all connections and forgets all; the peer finds it again under the same url.
  void restart();
  void stop();

  std::uint64_t session = 0;
  std::uint64_t out_seq = 0;             // of the last packet sent
  std::uint64_t in_seq = 0;              // of the last packet received
  std::uint64_t peer_ack = 0;            // what the peer acknowledged last
  bool acknowledges = true;              // headers of send() acknowledge what came
  std::vector<std::string> last_packet;  // the frames of the packet that came last

 private:
  void swap(Left& peer);
  void bind();
  bool receive(std::vector<std::string>& frames, long milliseconds);
  void send_frames(const std::vector<std::string>& frames);

  std::string url_;
  void* context_ = nullptr;
  void* router_ = nullptr;
  std::string peer_;           // routing id of the connection that said hello last
  std::vector<Json> pending_;  // records of the packet that came last, not looked at yet
  std::vector<Json> skipped_;
  std::vector<Peer> left_;
  std::vector<std::vector<std::string>> kept_;  // packets that came while it spoke with another
  std::uint64_t sessions_ = 1000;
};

// The JSON form of a value's body.
template <class T>
Json body_of(const T& value) {
  return Json{{"hex", proto::hex_encode(to_body(value))}};
}
// The value of a record's inline body.
inline Value value_of(const Json& body) {
  return from_body<Value>(*proto::hex_decode(body.at("hex").get<std::string>()));
}

}  // namespace tusk::test
