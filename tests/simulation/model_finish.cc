// The end of a step: every packet of the broker is one that it may send, and nothing is left over.
#include <algorithm>

#include "tests/simulation/model.h"

namespace tusk::simulation {

void Model::finish(const core::Actions& actions) {
  take_events();
  for (SeenPacket& packet : packets_) finish_packet(packet);
  for (const Seen& seen : seen_) {
    if (!seen.used) left_over(seen);
  }
  ++coverage_[static_cast<size_t>(Rule::nothing_else)];
  // Accepted never follows the result of the same request.
  for (const Seen& accepted : seen_) {
    if (accepted.record->kind != Kind::kAccepted) continue;
    for (const Seen& result : seen_) {
      if (result.record->kind != Kind::kResult || result.record->ref != accepted.record->ref) {
        continue;
      }
      const ConnectionId to = packets_[accepted.packet].connection;
      if (packets_[result.packet].connection != to || packets_[result.packet].send->envelope)
        continue;
      auto session = sessions_.find(connections_[to].session);
      if (session == sessions_.end() || session->second.reused.count(accepted.record->ref))
        continue;
      must(Rule::accepted_first, &accepted < &result,
           [&] { return describe(*accepted.record) + " comes behind its result"; });
    }
  }
  for (auto& [number, session] : sessions_) {
    finish_session(session);
    finish_events(session);
  }
  finish_edges(actions);
  for (const auto& [number, watch] : watches_due_) {
    const auto count = watch ? std::count_if(actions.watches.begin(), actions.watches.end(),
                                             [&](auto& w) { return w.session == number; })
                             : std::count_if(actions.unwatches.begin(), actions.unwatches.end(),
                                             [&](auto& u) { return u.session == number; });
    must(Rule::watch, count == 1, [&] {
      return std::string(watch ? "the process" : "the end of the watch") + " of session " +
             std::to_string(number) + " was named " + std::to_string(count) + " times";
    });
  }
  if (actions.watches.size() + actions.unwatches.size() != watches_due_.size()) {
    throw Broken{Rule::watch, "a process is watched, or no longer, that nobody named"};
  }
  if (stopping_ || actions.stopped) {
    must(Rule::shutdown, actions.stopped == stopped_, [&] {
      return std::string(stopped_ ? "everything ended and the broker does not stop"
                                  : "the broker stops while something runs");
    });
  }
}

// Packets are numbered, sent again unchanged, and within the limits that were stated.
void Model::finish_packet(SeenPacket& packet) {
  if (packet.direct) return;
  const uint64_t number = connections_[packet.connection].session;
  auto it = sessions_.find(number);
  must(Rule::nothing_else, it != sessions_.end(), [&] {
    return "connection " + std::to_string(packet.connection) + " has no session and gets a packet";
  });
  Session& session = it->second;
  const core::Send& send = *packet.send;
  must(Rule::seq, packet.has_header == session.acks,
       [&] { return name_of(session) + " gets a packet with the wrong sort of header"; });
  size_t bytes = send.records.size();
  for (const proto::Bytes& body : send.bodies) bytes += body.size();
  const bool lone_answer = packet.records == 1;  // one record may be as long as it must
  must(Rule::packet_limits,
       (send.records.size() <= session.limits.frame || lone_answer) &&
           packet.records <= session.limits.records && send.bodies.size() <= session.limits.frames,
       [&] { return name_of(session) + " gets a packet over its limits"; });
  if (!session.acks) return;
  must(Rule::stale_session, packet.session == number,
       [&] { return name_of(session) + " gets a packet of another session"; });
  must(Rule::ack, packet.ack == session.received, [&] {
    return name_of(session) + " is told that packet " + std::to_string(packet.ack) +
           " arrived; the last was " + std::to_string(session.received);
  });
  session.acked = session.received;
  session.owes_since = kNever;
  if (packet.seq == 0) {
    must(Rule::seq, packet.records == 0,
         [&] { return name_of(session) + " gets records in a packet without a number"; });
    return;
  }
  must(Rule::seq, packet.seq == session.next && packet.records > 0, [&] {
    return name_of(session) + " gets packet " + std::to_string(packet.seq) + " where " +
           std::to_string(session.next) + " is due";
  });
  ++session.next;
  if (packet.seq > session.sent) {
    session.sent = packet.seq;
    session.unacked.push_back({packet.seq, std::string(send.records.view()), send.bodies, bytes});
    session.bytes += bytes;
    return;
  }
  const SentPacket& first = session.unacked[packet.seq - session.unacked.front().seq];
  constexpr size_t kHeader = 29;  // its acknowledgement may have grown
  bool same = first.records.size() == send.records.size() &&
              first.records.substr(kHeader) == send.records.view().substr(kHeader) &&
              first.bodies.size() == send.bodies.size();
  for (size_t i = 0; same && i < first.bodies.size(); ++i) {
    same = first.bodies[i].view() == send.bodies[i].view();
  }
  must(Rule::resent, same, [&] {
    return name_of(session) + " gets packet " + std::to_string(packet.seq) + " again, changed";
  });
}

void Model::finish_session(Session& session) {
  if (session.connection == kNoConnection) return;
  must(Rule::resent, session.next == session.sent + 1, [&] {
    return name_of(session) + " came back and was not sent packet " + std::to_string(session.next) +
           " again";
  });
  if (session.acks) {
    const bool late = session.owes_since != kNever && now_ - session.owes_since > 50 * kMillisecond;
    must(Rule::ack_in_time, !late && session.received - session.acked <= 64, [&] {
      return name_of(session) + " was not told for " +
             std::to_string((now_ - session.owes_since) / kMillisecond) + " ms that packet " +
             std::to_string(session.received) + " arrived";
    });
  }
  session.over = session.bytes > config_->tuskd.limits.max_session_bytes;
}

void Model::check_edge_packet(const proto::Bytes& records, Bodies bodies, size_t count) const {
  const config::Limits& limit = config_->tuskd.limits;
  must(Rule::packet_limits,
       (records.size() <= limit.max_frame || count == 1) && count <= limit.max_records &&
           bodies.size() <= limit.max_frames,
       [&] {
         return "an edge gets a packet of " + std::to_string(count) + " records, over a limit";
       });
}

void Model::finish_edges(const core::Actions& actions) {
  proto::Decoder decoder;
  size_t at = 0;
  for (const core::SendItems& message : actions.items) {
    const proto::Decoded decoded = decoder.decode(message.records.view(), message.bodies.size());
    must(Rule::well_formed, decoded.ok(), [] { return std::string("the PUSH edge: rubbish"); });
    check_edge_packet(message.records, message.bodies, decoded.records.size());
    for (const proto::Record& record : decoded.records) {
      const char* wrong =
          at < items_due_.size() ? mismatch(items_due_[at], record, message.bodies) : "existence";
      must(Rule::items_out, !wrong,
           [&] { return "the PUSH edge gets " + describe(record) + "; wrong is its " + wrong; });
      ++at;
    }
  }
  if (at != items_due_.size()) {
    throw Broken{Rule::items_out,
                 "item " + items_due_[at].id.hex() + " left the pipeline and not by the PUSH edge"};
  }
  for (const core::SendEvents& message : actions.events) {
    const proto::Decoded decoded = decoder.decode(message.records.view(), message.bodies.size());
    must(Rule::well_formed, decoded.ok(), [] { return std::string("the XPUB edge: rubbish"); });
    check_edge_packet(message.records, message.bodies, decoded.records.size());
    for (const proto::Record& record : decoded.records) {
      auto due = std::find_if(events_due_.begin(), events_due_.end(), [&](const auto& entry) {
        return message.topic == entry.first + std::string(1, '\0');
      });
      const char* wrong =
          due == events_due_.end() ? "existence" : mismatch(due->second, record, message.bodies);
      must(Rule::events_edge, !wrong,
           [&] { return "the XPUB edge gets " + describe(record) + "; wrong is its " + wrong; });
      events_due_.erase(due);
    }
  }
  must(Rule::events_edge, events_due_.empty(),
       [&] { return "an event of " + events_due_[0].first + " did not leave by the XPUB edge"; });
}

// A record that nobody is owed. Which promise is that?
void Model::left_over(const Seen& seen) const {
  const proto::Record& r = *seen.record;
  const SeenPacket& packet = packets_[seen.packet];
  const std::string what =
      describe(r) + " on connection " + std::to_string(packet.connection) + ": ";
  auto it = r.has_id() ? tasks_.find(r.id()) : tasks_.end();
  const bool is_run = r.kind == Kind::kTask || r.kind == Kind::kItem;
  if (is_run && it != tasks_.end()) {
    const Task& task = it->second;
    if (task.phase == Phase::kRunning)
      throw Broken{Rule::one_run,
                   what + "it runs already in session " + std::to_string(task.session)};
    if (task.phase == Phase::kEnded) throw Broken{Rule::ending, what + "it has ended"};
    if (task.phase == Phase::kParked) throw Broken{Rule::room, what + "it is not accepted yet"};
    if (task.phase == Phase::kHeld) throw Broken{Rule::held, what + "a worker may claim it"};
    if (task.phase == Phase::kBackoff) {
      throw Broken{task.attempt == 0 ? Rule::delay : Rule::retry, what + "it is not due"};
    }
    if (task.phase == Phase::kBlocked) {
      throw Broken{Rule::order_key, what + "another of its order key has not ended"};
    }
    if (!task.is_item && is_full(task.type)) throw Broken{Rule::rate, what + "its type is full"};
    if (!task.limit_key.empty() && could_start(task) == Could::kNo) {
      const auto key = key_rates_.find({task.type, task.limit_key});
      throw Broken{Rule::rate, what + "its limit key is full" +
                                   (key == key_rates_.end() || key_is_full(task)
                                        ? " of runs"
                                        : ", with " + std::to_string(key->second.level(now_)))};
    }
    if (paused(task)) throw Broken{Rule::pause, what + "its type is paused"};
    const Session* to = nullptr;
    for (auto& [number, session] : sessions_) {
      if (session.connection == packet.connection) to = &session;
    }
    if (to && to->runs.size() >= to->slots) throw Broken{Rule::slots, what + "no slot is free"};
    if (to && task.suspect && to->suspect()) {
      throw Broken{Rule::one_suspect, what + "it holds a suspect"};
    }
    if (to && !serves_task(*to, task)) throw Broken{Rule::serves, what + "it may not run that"};
    if (task.is_item) throw Broken{Rule::room, what + "there is no room behind its stage"};
    throw Broken{Rule::order, what + "it is not its turn"};
  }
  if (is_run) throw Broken{Rule::ending, what + "there is no such task, or it ended"};
  if (r.kind == Kind::kEvent) throw Broken{Rule::events, what + "it was not published so"};
  if (r.kind == Kind::kAccepted) throw Broken{Rule::push_accepted, what + "nothing to accept"};
  if (r.kind == Kind::kResult)
    throw Broken{Rule::ending, what + "nobody asked, or it is no ending"};
  throw Broken{Rule::nothing_else, what + "nobody asked"};
}

std::vector<std::string> Model::unfinished() const {
  std::vector<std::string> out;
  for (const auto& [id, task] : tasks_) {
    if (task.phase != Phase::kEnded) out.push_back(name_of(task) + " has not ended");
    for (const Asker& asker : task.askers) {
      if (present(asker)) out.push_back(name_of(task) + " is waited for");
    }
  }
  return out;
}

bool Model::holds(const std::string& type, bool is_item) const {
  return std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& entry) {
    const Task& task = entry.second;
    return task.is_item == is_item && (is_item || task.type == type) && task.phase != Phase::kEnded;
  });
}

}  // namespace tusk::simulation
