#include "proto/wire.h"

namespace tusk::proto {

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kHeader:
      return "header";
    case Kind::kHello:
      return "hello";
    case Kind::kWelcome:
      return "welcome";
    case Kind::kPing:
      return "ping";
    case Kind::kPong:
      return "pong";
    case Kind::kError:
      return "error";
    case Kind::kBye:
      return "bye";
    case Kind::kGoaway:
      return "goaway";
    case Kind::kChunk:
      return "chunk";
    case Kind::kSubmit:
      return "submit";
    case Kind::kCancel:
      return "cancel";
    case Kind::kQuery:
      return "query";
    case Kind::kUpdate:
      return "update";
    case Kind::kControl:
      return "control";
    case Kind::kAwait:
      return "await";
    case Kind::kPublish:
      return "publish";
    case Kind::kSubscribe:
      return "subscribe";
    case Kind::kUnsubscribe:
      return "unsubscribe";
    case Kind::kPush:
      return "push";
    case Kind::kResult:
      return "result";
    case Kind::kReturned:
      return "returned";
    case Kind::kSuspend:
      return "suspend";
    case Kind::kProgress:
      return "progress";
    case Kind::kLog:
      return "log";
    case Kind::kCheckpoint:
      return "checkpoint";
    case Kind::kSlots:
      return "slots";
    case Kind::kDefer:
      return "defer";
    case Kind::kPause:
      return "pause";
    case Kind::kCredit:
      return "credit";
    case Kind::kAccepted:
      return "accepted";
    case Kind::kAnswer:
      return "answer";
    case Kind::kEvent:
      return "event";
    case Kind::kUnsubscribed:
      return "unsubscribed";
    case Kind::kTask:
      return "task";
    case Kind::kItem:
      return "item";
    case Kind::kRecall:
      return "recall";
    case Kind::kResume:
      return "resume";
    case Kind::kDrain:
      return "drain";
    case Kind::kUnknown:
    case Kind::kIgnorable:
      break;
  }
  return "";
}

std::string_view state_name(State state) {
  switch (state) {
    case State::kSucceeded:
      return "succeeded";
    case State::kFailed:
      return "failed";
    case State::kExpired:
      return "expired";
    case State::kCancelled:
      return "cancelled";
    case State::kDead:
      return "dead";
  }
  return "";
}

}  // namespace tusk::proto
