#include "daemon/core/session.h"

namespace tusk::core {

using proto::Bytes;
using proto::Writer;

void Outbox::close() {
  if (writer_.empty()) return;
  SentPacket packet;
  packet.seq = keeps_ ? ++last_seq_ : 0;
  packet.bytes = writer_.records().size() + writer_.frame_bytes();
  packet.records = writer_.records().take();
  packet.bodies.swap(writer_.frames());
  bytes_ += packet.bytes;
  packets_.push_back(std::move(packet));
  writer_.clear();
}

// A packet's header is written when it is sent. It is sent again "unchanged" but for this header's
// acknowledgement, which may only grow; by then nobody reads the first copy's bytes any longer, or
// they are the very same.
void Outbox::fill(SentPacket& packet, uint64_t ack) {
  std::string_view old = packet.records.view();
  if (old[0] != 0) {  // sent before: ZeroMQ may still read that memory
    packet.records = Bytes::copy(old);
  }
  Writer::fill_header(const_cast<char*>(packet.records.data()), session_, packet.seq, ack);
}

void Outbox::acknowledge(uint64_t seq) {
  while (!packets_.empty() && packets_.front().seq <= seq) {
    if (unsent_ == 0) break;  // acknowledges what was never sent: ignore
    bytes_ -= packets_.front().bytes;
    packets_.pop_front();
    --unsent_;
  }
}

}  // namespace tusk::core
