package wire

// Kind says what a record is; SPEC.md has the tables.
type Kind int64

// The kinds that this version carries out.
const (
	HeaderKind   Kind = 0
	Hello        Kind = 1
	Welcome      Kind = 2
	Ping         Kind = 3
	Pong         Kind = 4
	Error        Kind = 5
	Bye          Kind = 6
	Goaway       Kind = 7
	Chunk        Kind = 8
	Submit       Kind = 16
	Cancel       Kind = 17
	Query        Kind = 18
	Update       Kind = 19
	Publish      Kind = 20
	Subscribe    Kind = 21
	Unsubscribe  Kind = 22
	Push         Kind = 24
	Control      Kind = 26
	Await        Kind = 29
	Result       Kind = 32
	Returned     Kind = 33
	Suspend      Kind = 35
	Progress     Kind = 36
	Log          Kind = 37
	Checkpoint   Kind = 38
	Slots        Kind = 40
	Defer        Kind = 41
	Pause        Kind = 42
	Credit       Kind = 45
	Accepted     Kind = 48
	Answer       Kind = 49
	Event        Kind = 50
	Unsubscribed Kind = 51
	Task         Kind = 64
	Item         Kind = 65
	Recall       Kind = 66
	Resume       Kind = 67
	Drain        Kind = 68

	// Ignorable is the first of the kinds that a peer may ignore.
	Ignorable Kind = 128
)

// The attributes that this version carries out. Odd ones are promises.
const (
	Delay            = 1
	Deadline         = 3
	RunTimeout       = 5
	Attempts         = 7
	Backoff          = 9
	Retention        = 13
	Reply            = 15
	Resent           = 17
	Unique           = 19
	UniquePolicy     = 21
	OrderKey         = 23
	Needs            = 25
	Codec            = 27
	Compression      = 29
	LastCheckpoint   = 33
	Cost             = 49
	Priority         = 51
	RerunOK          = 53
	Wait             = 55
	NoRetry          = 57
	Crashed          = 59
	StickyKey        = 61
	Parent           = 63
	HeartbeatTimeout = 65
	NoRetryOn        = 67
	Follow           = 69
	UniqueFor        = 71
	LimitKey         = 73
	Stream           = 75
	Slow             = 77
	ErrorMap         = 2
	Attempt          = 4
	Worker           = 6
	Trace            = 8
	Baggage          = 10
	Group            = 16
	Labels           = 18
	TimeLeft         = 24
	Reason           = 26
	History          = 28
	TaskOf           = 30
	Index            = 32
	Chunks           = 34
	Missed           = 38
	Retained         = 40
)

// The endings of a task, and of a run.
const (
	Succeeded = 1
	Failed    = 2
	Expired   = 3
	Cancelled = 4
	Dead      = 5
)

// The codecs of a body.
const (
	CodecMsgpack = 0
	CodecJSON    = 1
	CodecBytes   = 2
)

// What a caller may follow of the runs of its task; the attribute is the sum.
const (
	FollowProgress = 1
	FollowLog      = 2
)

// FrameBody is the size in bytes from which a body travels as a frame of its own.
const FrameBody = 8 << 10

// MaxName is the longest type, topic, stage, pool or worker name in bytes.
const MaxName = 255

// MaxLog is the longest text of a log line in bytes.
const MaxLog = 16 << 10

// Bounds of labels and needs: of a task, of a worker, of each kind of need, and of an amount.
const (
	MaxLabels       = 16
	MaxWorkerLabels = 32
	MaxNeeds        = 16
	MaxAmount       = 1_000_000_000
)

// MaxStream is how many chunks of a stream may be on their way.
const MaxStream = 1024

// MaxAwaited is how many tasks one suspend may name.
const MaxAwaited = 1000

// MaxNoRetryOn is how many types of errors a task may name that make no other run worth while.
const MaxNoRetryOn = 32
