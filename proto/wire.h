// The numbers of TUSK/1: kinds, attributes, states, error codes, limits. SPEC.md says what they
// mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tusk::proto {

inline constexpr int kVersion = 1;

// Integers outside bodies are at most this: a JavaScript number holds them exactly.
inline constexpr uint64_t kMaxInteger = (uint64_t{1} << 53) - 1;

enum class Kind : uint16_t {
  kHeader = 0,
  kHello = 1,
  kWelcome = 2,
  kPing = 3,
  kPong = 4,
  kError = 5,
  kBye = 6,
  kGoaway = 7,
  kChunk = 8,
  kSubmit = 16,
  kCancel = 17,
  kQuery = 18,
  kUpdate = 19,
  kPublish = 20,
  kSubscribe = 21,
  kUnsubscribe = 22,
  kPush = 24,
  kControl = 26,
  kAwait = 29,
  kResult = 32,
  kReturned = 33,
  kSuspend = 35,
  kProgress = 36,
  kLog = 37,
  kCheckpoint = 38,
  kSlots = 40,
  kDefer = 41,
  kPause = 42,
  kCredit = 45,
  kAccepted = 48,
  kAnswer = 49,
  kEvent = 50,
  kUnsubscribed = 51,
  kTask = 64,
  kItem = 65,
  kRecall = 66,
  kResume = 67,
  kDrain = 68,
  // Kinds below 128 that this version does not know, reserved ones included, and those of 128 and
  // more, which may be ignored. The number is in Record::unknown_kind.
  kUnknown = 0xFFFE,
  kIgnorable = 0xFFFF,
};

// "submit", "task", ...; "" for kUnknown and kIgnorable.
std::string_view kind_name(Kind kind);

// Keys of attributes. Odd: a promise, refused when unknown. Even: a hint, kept and forwarded.
enum class Attribute : uint32_t {
  kDelay = 1,
  kError = 2,
  kDeadline = 3,
  kAttempt = 4,
  kRunTimeout = 5,
  kWorker = 6,
  kAttempts = 7,
  kTrace = 8,
  kBackoff = 9,
  kBaggage = 10,
  kRetention = 13,
  kReply = 15,
  kGroup = 16,
  kResent = 17,
  kLabels = 18,
  kUnique = 19,
  kUniquePolicy = 21,
  kOrderKey = 23,
  kTimeLeft = 24,
  kNeeds = 25,
  kReason = 26,
  kCodec = 27,
  kHistory = 28,
  kCompression = 29,
  kTask = 30,
  kIndex = 32,
  kCheckpoint = 33,
  kChunks = 34,
  kMissed = 38,
  kRetained = 40,
  kCost = 49,
  kPriority = 51,
  kRerunOk = 53,
  kWait = 55,
  kNoRetry = 57,
  kCrashed = 59,
  kStickyKey = 61,
  kParent = 63,
  kHeartbeatTimeout = 65,
  kNoRetryOn = 67,
  kFollow = 69,
  kUniqueFor = 71,
  kLimitKey = 73,
  kStream = 75,
  kSlow = 77,
};

enum class State : uint8_t {
  kSucceeded = 1,
  kFailed = 2,
  kExpired = 3,
  kCancelled = 4,
  kDead = 5,
};

std::string_view state_name(State state);

enum class Reply : uint8_t { kResult = 0, kAccepted = 1, kBoth = 2 };

// What a submit does that finds its unique key taken.
enum class UniquePolicy : uint8_t { kJoin = 0, kRefuse, kReplace, kDebounce, kFollowUp };

// What becomes of a subscriber that does not keep up.
enum class Slow : uint8_t { kDropOldest = 0, kDisconnect };

enum class Compression : uint8_t { kNone = 0, kLz4 = 1 };

// Codes of error records. They never change; the message beside them is for people.
namespace code {
inline constexpr std::string_view kMalformed = "malformed";
inline constexpr std::string_view kUnsupported = "unsupported";
inline constexpr std::string_view kInvalid = "invalid";
inline constexpr std::string_view kVersion = "version";
inline constexpr std::string_view kStaleSession = "stale_session";
inline constexpr std::string_view kDuplicateHello = "duplicate_hello";
inline constexpr std::string_view kRefused = "refused";
inline constexpr std::string_view kGap = "gap";
inline constexpr std::string_view kTooLarge = "too_large";
inline constexpr std::string_view kBusy = "busy";
inline constexpr std::string_view kFull = "full";
inline constexpr std::string_view kUnserved = "unserved";
inline constexpr std::string_view kUnknownTopic = "unknown_topic";
inline constexpr std::string_view kUnknownStage = "unknown_stage";
inline constexpr std::string_view kUnknownTask = "unknown_task";
inline constexpr std::string_view kUnknownHandle = "unknown_handle";
inline constexpr std::string_view kDuplicate = "duplicate";
inline constexpr std::string_view kIdConflict = "id_conflict";
inline constexpr std::string_view kAlreadyEnded = "already_ended";
inline constexpr std::string_view kUnknownOutcome = "unknown_outcome";
inline constexpr std::string_view kTimeout = "timeout";
inline constexpr std::string_view kShuttingDown = "shutting_down";
}  // namespace code

// What WELCOME states and both sides keep (SPEC.md, "Limits"). Sizes in bytes.
struct Limits {
  size_t frame = 1 << 20;
  size_t body = 64 << 20;
  size_t records = 1024;
  size_t frames = 256;
  size_t session_bytes = 256 << 20;
  size_t push_window = 1024;
  size_t checkpoint = 256 << 10;
};

// Durations of tasks, in ms: 100 years.
inline constexpr uint64_t kMaxDuration = uint64_t{100} * 365 * 86'400'000;
inline constexpr int kMaxPriority = 100;  // and its negative
inline constexpr uint64_t kMaxAttempts = 1000;
inline constexpr uint64_t kMaxCost = 1'000'000'000;  // units
inline constexpr size_t kMaxNoRetryOn = 32;
inline constexpr size_t kMaxLogText = 16 << 10;
inline constexpr size_t kMaxLabels = 16;        // of a task
inline constexpr size_t kMaxWorkerLabels = 32;  // of a worker
inline constexpr size_t kMaxNeeds = 16;         // entries of each kind of need
inline constexpr uint64_t kMaxAmount = 1'000'000'000;
inline constexpr uint64_t kMaxStream = 1024;  // chunks on their way
inline constexpr size_t kMaxAwaited = 1000;   // tasks that a suspended run awaits

// What a caller wants to hear of the runs of its task: a sum of these.
inline constexpr uint8_t kFollowProgress = 1;
inline constexpr uint8_t kFollowLog = 2;

inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxAttributes = 64;
inline constexpr size_t kMaxDepth = 8;
// A body from this size on travels as a frame of its own.
inline constexpr size_t kFrameBody = 8 << 10;

}  // namespace tusk::proto
