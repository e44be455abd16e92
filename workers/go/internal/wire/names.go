package wire

// Kind says what a record is; SPEC.md has the tables.
type Kind int64

// The kinds that this version carries out.
const (
	HeaderKind  Kind = 0
	Hello       Kind = 1
	Welcome     Kind = 2
	Ping        Kind = 3
	Pong        Kind = 4
	Error       Kind = 5
	Bye         Kind = 6
	Goaway      Kind = 7
	Submit      Kind = 16
	Cancel      Kind = 17
	Query       Kind = 18
	Publish     Kind = 20
	Subscribe   Kind = 21
	Unsubscribe Kind = 22
	Push        Kind = 24
	Result      Kind = 32
	Returned    Kind = 33
	Slots       Kind = 40
	Accepted    Kind = 48
	Answer      Kind = 49
	Event       Kind = 50
	Task        Kind = 64
	Item        Kind = 65
	Recall      Kind = 66
	Drain       Kind = 68

	// Ignorable is the first of the kinds that a peer may ignore.
	Ignorable Kind = 128
)

// The attributes that this version carries out. Odd ones are promises.
const (
	Reply       = 15
	Resent      = 17
	Codec       = 27
	Compression = 29
	RerunOK     = 53
	Wait        = 55
	NoRetry     = 57
	Crashed     = 59
	ErrorMap    = 2
	Attempt     = 4
	Worker      = 6
	Trace       = 8
	Baggage     = 10
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

// FrameBody is the size in bytes from which a body travels as a frame of its own.
const FrameBody = 8 << 10

// MaxName is the longest type, topic, stage, pool or worker name in bytes.
const MaxName = 255
