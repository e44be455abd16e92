package tusk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Error is what a call gets when the broker or this SDK refuses it, or when it cannot be known what
// became of it. Compare it with the Err... values by errors.Is, which looks at Code.
type Error struct {
	Code    string         // for programs; never changes
	Message string         // for people: what happened, to what, and what to do
	ID      TaskID         // of the task or item; zero where there is none
	URL     string         // of the broker; may be empty where it was not asked
	Details map[string]any // what the broker added; may be nil
	cause   error
}

func (e *Error) Error() string {
	text := "tusk: " + e.Code + ": " + e.Message
	if e.ID != (TaskID{}) {
		text += " (task " + e.ID.String() + ")"
	}
	return text
}

// Is says whether target is the Err... value of this code.
func (e *Error) Is(target error) bool {
	code, ok := target.(code)
	return ok && string(code) == e.Code
}

// Unwrap returns context.DeadlineExceeded or context.Canceled where a context was the cause.
func (e *Error) Unwrap() error { return e.cause }

// code is a sentinel that errors.Is compares with.
type code string

func (c code) Error() string { return "tusk: " + string(c) }

// What an Error may be, for errors.Is. SPEC.md says when the broker sends each.
const (
	ErrUnavailable    = code("unavailable")     // no broker answers at the URL
	ErrTimeout        = code("timeout")         // the caller's time passed; the task goes on
	ErrUnserved       = code("unserved")        // no worker runs this type
	ErrBusy           = code("busy")            // this client has too much under way; try later
	ErrFull           = code("full")            // a queue or table of the broker is full; try later
	ErrTooLarge       = code("too_large")       // over a limit
	ErrIDConflict     = code("id_conflict")     // the id belongs to another type or body
	ErrDuplicate      = code("duplicate")       // another task has the unique key; see DuplicateError
	ErrAlreadyEnded   = code("already_ended")   // the task ended and its ending is not kept
	ErrUnknownOutcome = code("unknown_outcome") // it may have run before; the caller decides
	ErrUnknownTask    = code("unknown_task")
	ErrUnknownTopic   = code("unknown_topic")
	ErrUnknownStage   = code("unknown_stage")
	ErrUnsupported    = code("unsupported") // the broker, or this SDK, does not carry this out
	ErrInvalid        = code("invalid")     // a value out of its range; if the Error has no URL, nothing was sent
	ErrRefused        = code("refused")     // the broker's config does not allow this peer
	ErrVersion        = code("version")     // no common version of the protocol
	ErrMalformed      = code("malformed")
	ErrBody           = code("body")            // a value that BODY.md cannot hold, or that does not fit its Go type
	ErrClosed         = code("closed")          // the client or the subscription was closed
	ErrSlowSubscriber = code("slow_subscriber") // a subscription WithSlow(SlowDisconnect) has ended: it was not read fast enough
)

// DuplicateError says that another task has the unique key of a submit, which has done nothing. It is
// ErrDuplicate.
type DuplicateError struct {
	ID    TaskID // of the task that has the key
	State string // of that task: "waiting", "delayed", "running", or how it ended if it keeps the key for a while
	cause *Error
}

func (e *DuplicateError) Error() string { return e.cause.Error() }

// Unwrap returns the *Error that this is.
func (e *DuplicateError) Unwrap() error { return e.cause }

// asDuplicate makes an error what its code says.
func asDuplicate(err *Error) error {
	if err.Code != string(ErrDuplicate) {
		return err
	}
	text := func(key string) string { s, _ := err.Details[key].(string); return s }
	holder, _ := ParseTaskID(text("id")) // zero if the broker did not say it
	return &DuplicateError{ID: holder, State: text("state"), cause: err}
}

// What a TaskError may be, for errors.Is.
const (
	ErrFailed    = code("failed")    // the handler failed; a dead task failed too
	ErrDead      = code("dead")      // every allowed run failed, or its workers died of it
	ErrCancelled = code("cancelled") // somebody cancelled it, perhaps by the context
	ErrExpired   = code("expired")   // its deadline passed
)

// TaskError is the ending of a task that is not a success.
type TaskError struct {
	State    string // "failed", "dead", "cancelled" or "expired"
	ID       TaskID // of the task that ended: another than was submitted if that joined it by a unique key
	TaskType string // the task's; empty if AwaitTask asked
	Type     string // the exception's class in the handler's language
	Message  string
	Language string // the handler's
	Stack    string // as that language prints it; may be empty
	Attempt  int    // the run this ending came from, from 1; 0: none
	Worker   string // the name of the worker that ran it; may be empty
	Retry    bool   // whether the same task, submitted anew, may end otherwise
	Details  map[string]any
	History  []Attempt // the last 16 runs that failed, oldest first; nil if only one was allowed
	cause    error
}

// Attempt is one run of a task that did not succeed.
type Attempt struct {
	Attempt  int           // from 1
	Worker   string        // the name of the worker that ran it
	Started  time.Duration // how long before the task's ending
	Ended    time.Duration // how long before the task's ending
	Type     string        // the exception's class in the handler's language
	Message  string        // cut to 1 KiB
	Language string        // the handler's
	Stack    string        // cut to 4 KiB; may be empty
}

func (e *TaskError) Error() string {
	var b strings.Builder
	b.WriteString("tusk: task ")
	if e.TaskType != "" {
		b.WriteString(e.TaskType + " ")
	}
	b.WriteString(e.State)
	if e.Type != "" {
		b.WriteString(": " + e.Type)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	b.WriteString(" (id " + e.ID.String())
	if e.Attempt > 0 {
		fmt.Fprintf(&b, ", attempt %d", e.Attempt)
	}
	if e.Worker != "" {
		b.WriteString(", worker " + e.Worker)
	}
	b.WriteString(")")
	return b.String()
}

// Is says whether target is the Err... value of this ending.
func (e *TaskError) Is(target error) bool {
	code, ok := target.(code)
	return ok && (string(code) == e.State || code == ErrFailed && e.State == string(ErrDead))
}

// Unwrap returns context.Canceled where the caller's context cancelled the task.
func (e *TaskError) Unwrap() error { return e.cause }

// NoRetry marks an error of a handler: another run of the task makes no sense.
//
//	return 0, tusk.NoRetry(fmt.Errorf("no such file: %s", in.Path))
func NoRetry(err error) error {
	if err == nil {
		return nil
	}
	return &noRetry{err}
}

// TypedError gives an error of a handler the type that callers see, and that WithNoRetryOn means. Without
// it that is its Go type, such as *fs.PathError.
//
//	return 0, tusk.TypedError("NotFound", fmt.Errorf("no such file: %s", in.Path))
func TypedError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &typedError{err, name}
}

type typedError struct {
	error
	name string
}

func (e *typedError) Unwrap() error { return e.error }

// Defer is the error that a handler returns when it cannot run now, say for a lock that somebody holds:
// the task runs again after that time, from 0 to 100 years. That is no failure and uses up no attempt,
// though the next run has the next number.
//
//	return 0, tusk.Defer(time.Second)
func Defer(after time.Duration) error {
	if err := checkDuration("after", &after, 0); err != nil {
		return err
	}
	return &deferral{after}
}

type deferral struct{ after time.Duration }

func (e *deferral) Error() string { return "tusk: this run is deferred by " + e.after.String() }

type noRetry struct{ error }

func (e *noRetry) Unwrap() error { return e.error }

// Drop is the error that a stage handler returns for an item that ends here: a filter's no.
//
//lint:ignore ST1012 it is an order, like fs.SkipDir
var Drop = errors.New("tusk: drop this item")

func newError(code code, id TaskID, format string, args ...any) *Error {
	return &Error{Code: string(code), ID: id, Message: fmt.Sprintf(format, args...)}
}

// brokerError turns an error record into an Error.
func brokerError(r *wire.Record, id TaskID, url string) *Error {
	e := &Error{Code: string(r.Name), Message: string(r.Text), ID: id, URL: url}
	e.Details = details(r.Raw)
	if e.Code == string(ErrTimeout) {
		e.cause = context.DeadlineExceeded
	}
	return e
}

func details(raw []byte) map[string]any {
	var found map[string]any
	if raw == nil || value.Decode(raw, &found) != nil {
		return nil
	}
	return found
}

var stateNames = map[int64]code{
	wire.Failed: ErrFailed, wire.Expired: ErrExpired, wire.Cancelled: ErrCancelled, wire.Dead: ErrDead,
}

// taskError turns an ending that is not a success into a TaskError.
func taskError(r *wire.Record, asked *request) *TaskError {
	e := &TaskError{State: string(stateNames[r.State]), ID: asked.id}
	if asked.kind == wire.Submit {
		e.TaskType = asked.name
	}
	if asked.counts != (TaskID{}) {
		e.ID = asked.counts
	}
	e.Retry = r.State == wire.Failed || r.State == wire.Dead
	a := r.Attrs
	if a == nil {
		return e
	}
	e.Attempt, e.Worker = int(a.Attempt), string(a.Worker)
	e.Retry = e.Retry && !a.NoRetry
	e.Details = details(a.Error)
	e.History = history(a.History)
	text := func(key string) string { s, _ := e.Details[key].(string); return s }
	e.Type, e.Message, e.Language, e.Stack = text("type"), text("message"), text("language"), text("stack")
	return e
}

// history reads the list of runs that failed.
func history(raw []byte) []Attempt {
	var told []toldAttempt
	if raw == nil || value.Decode(raw, &told) != nil {
		return nil
	}
	return attempts(told)
}

// toldAttempt is a run that failed as the broker tells it.
type toldAttempt struct {
	Attempt        int
	Worker         string
	Started, Ended int64 // ms before the ending
	Error          failure
}

func attempts(told []toldAttempt) []Attempt {
	if told == nil {
		return nil
	}
	found := make([]Attempt, 0, len(told))
	for _, t := range told {
		found = append(found, Attempt{Attempt: t.Attempt, Worker: t.Worker,
			Started: duration(t.Started), Ended: duration(t.Ended),
			Type: t.Error.Type, Message: t.Error.Message, Language: t.Error.Language, Stack: t.Error.Stack})
	}
	return found
}
