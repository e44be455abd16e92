package tusk

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// longest is the longest of all durations of a task: 100 years.
const longest = 100 * 365 * 24 * time.Hour

// Priority says which of the tasks that wait is next: the highest, from -100 to 100. PriorityNormal is
// what a task has that asks for none.
type Priority int

// The priorities that have names; ParsePriority reads them.
const (
	PriorityLow      Priority = -10
	PriorityNormal   Priority = 0
	PriorityHigh     Priority = 10
	PriorityCritical Priority = 20
)

var priorities = []struct {
	name  string
	value Priority
}{{"low", PriorityLow}, {"normal", PriorityNormal}, {"high", PriorityHigh}, {"critical", PriorityCritical}}

// ParsePriority reads the name of a priority: low, normal, high or critical.
func ParsePriority(name string) (Priority, error) {
	names := make([]string, 0, len(priorities))
	for _, p := range priorities {
		if p.name == name {
			return p.value, nil
		}
		names = append(names, p.name)
	}
	return 0, invalid("priority", "priority %q does not exist; the names are %s", name, strings.Join(names, ", "))
}

// String is the name of a priority, or its number if it has none.
func (p Priority) String() string {
	for _, known := range priorities {
		if known.value == p {
			return known.name
		}
	}
	return fmt.Sprint(int(p))
}

// Backoff says how long a task waits before the run that follows failure n: First × Factor^(n - 1), at
// most Most, times a random number between 1 - Jitter and 1 + Jitter.
type Backoff struct {
	First, Most time.Duration // from 0 to 100 years
	Factor      float64       // from 1 to 100; 0: 2
	Jitter      float64       // to 1; 0: 0.25; NoJitter: none
}

// NoJitter as a Backoff's Jitter leaves chance out of it.
const NoJitter = -1.0

// terms are what a task asks for beyond an ordinary run. Most ask for nothing and have none.
type terms struct {
	began            time.Time // when the caller asked: delay and deadline count from there
	delay            *time.Duration
	notBefore        *time.Time
	deadline         *time.Duration
	runTimeout       *time.Duration
	heartbeatTimeout *time.Duration
	attempts         *int
	backoff          *Backoff
	priority         *Priority
	noRetryOn        []string
	unique           *string
	uniquePolicy     *UniquePolicy
	uniqueFor        *time.Duration
	retention        *time.Duration
	orderKey         *string
	limitKey         *string
	group            *string
	cost             *int
	labels           map[string]string
	requires         map[string]any // nil: it was not said
	prefers          map[string]any
	consumes         map[string]any
	stickyKey        *string
	parent           *TaskID
	written          []byte // labels and needs, as pairs of a map
	writtenN         int    // how many
}

func (r *request) asks() *terms {
	if r.terms == nil {
		r.terms = &terms{}
	}
	return r.terms
}

// WithPriority runs the task before those of a lower priority that wait too; from -100 to 100.
func WithPriority(priority Priority) CallOption {
	return func(r *request) { r.asks().priority = &priority }
}

// WithDelay lets the task wait for so long, up to 100 years, before it may run. 0 is at once, even for a
// type that has a delay in the config.
func WithDelay(delay time.Duration) CallOption {
	return func(r *request) { r.asks().delay = &delay }
}

// WithNotBefore is WithDelay for a point in time, at most 100 years from now; one that is past is no
// delay. The clock is read once, at the call: setting it later changes nothing.
func WithNotBefore(at time.Time) CallOption {
	return func(r *request) { r.asks().notBefore = &at }
}

// WithDeadline is how long the task may take in all, from now on and up to 100 years, delays and all
// runs included; then it is ErrExpired, for whoever waits. How long this caller waits is WithTimeout.
func WithDeadline(deadline time.Duration) CallOption {
	return func(r *request) { r.asks().deadline = &deadline }
}

// WithRunTimeout is how long one run may take, from 1 ms to 100 years. One that takes longer is told to
// stop; then it has failed with RunTimeout, and is tried again like any other.
func WithRunTimeout(timeout time.Duration) CallOption {
	return func(r *request) { r.asks().runTimeout = &timeout }
}

// WithHeartbeatTimeout is within how long, from 1 ms to 100 years, a run has to give a sign of life: see
// TaskInfo.Heartbeat. One that does not is told to stop, and has failed with HeartbeatTimeout.
func WithHeartbeatTimeout(timeout time.Duration) CallOption {
	return func(r *request) { r.asks().heartbeatTimeout = &timeout }
}

// WithAttempts is how many runs may fail, from 1 to 1,000; then the task is ErrDead.
func WithAttempts(attempts int) CallOption {
	return func(r *request) { r.asks().attempts = &attempts }
}

// WithBackoff is how long the task waits between runs that fail.
func WithBackoff(backoff Backoff) CallOption {
	return func(r *request) { r.asks().backoff = &backoff }
}

// WithNoRetryOn names types of errors, as TaskError.Type has them, after which another run makes no
// sense: at most 32, of at most 255 bytes each.
func WithNoRetryOn(types ...string) CallOption {
	return func(r *request) { r.asks().noRetryOn = types }
}

// invalid is the error for an option that is out of its range.
func invalid(option, format string, args ...any) *Error {
	err := newError(ErrInvalid, TaskID{}, format, args...)
	err.Details = map[string]any{"field": option}
	return err
}

func checkDuration(name string, value *time.Duration, least time.Duration) error {
	if value == nil || *value >= least && *value <= longest {
		return nil
	}
	return invalid(name, "%s is %v, and has to be from %v to 100 years", name, *value, least)
}

// begin checks the terms, and turns a point in time into a delay from now on.
func (t *terms) begin(now time.Time) error {
	t.began = now
	if t.delay != nil && t.notBefore != nil {
		return invalid("not_before", "delay and not_before are two ways to say one thing; give one of them")
	}
	if t.notBefore != nil {
		delay := max(0, t.notBefore.Sub(now))
		if delay > longest {
			return invalid("not_before", "not_before is %v, more than 100 years from now", *t.notBefore)
		}
		t.delay, t.notBefore = &delay, nil
	}
	for _, d := range [...]struct {
		name  string
		value *time.Duration
		least time.Duration
	}{
		{"delay", t.delay, 0}, {"deadline", t.deadline, 0},
		{"run_timeout", t.runTimeout, time.Millisecond}, {"heartbeat_timeout", t.heartbeatTimeout, time.Millisecond},
		{"unique_for", t.uniqueFor, 0}, {"retention", t.retention, 0},
	} {
		if err := checkDuration(d.name, d.value, d.least); err != nil {
			return err
		}
	}
	switch {
	case t.attempts != nil && (*t.attempts < 1 || *t.attempts > 1000):
		return invalid("attempts", "attempts is %d, and has to be from 1 to 1000", *t.attempts)
	case len(t.noRetryOn) > wire.MaxNoRetryOn:
		return invalid("no_retry_on", "no_retry_on has %d types, and may have %d", len(t.noRetryOn), wire.MaxNoRetryOn)
	}
	for _, name := range t.noRetryOn {
		if len(name) > wire.MaxName || !utf8.ValidString(name) {
			return invalid("no_retry_on", "no_retry_on has a name that is not UTF-8 of at most %d bytes: %.40q", wire.MaxName, name)
		}
	}
	if err := t.checkUnique(); err != nil {
		return err
	}
	if err := t.checkSharing(); err != nil {
		return err
	}
	if t.priority != nil {
		if err := checkPriority(*t.priority); err != nil {
			return err
		}
	}
	if err := t.writeNeeds(); err != nil {
		return err
	}
	return t.checkBackoff()
}

func checkPriority(priority Priority) error {
	if priority < -100 || priority > 100 {
		return invalid("priority", "priority is %d, and has to be from -100 to 100", int(priority))
	}
	return nil
}

func (t *terms) checkBackoff() error {
	if t.backoff == nil {
		return nil
	}
	b := *t.backoff
	if b.Factor == 0 {
		b.Factor = 2
	}
	switch b.Jitter {
	case 0:
		b.Jitter = 0.25
	case NoJitter:
		b.Jitter = 0
	}
	t.backoff = &b
	if err := checkDuration("backoff.First", &b.First, 0); err != nil {
		return err
	}
	if err := checkDuration("backoff.Most", &b.Most, 0); err != nil {
		return err
	}
	if !(b.Factor >= 1 && b.Factor <= 100) { // not so for a NaN
		return invalid("backoff", "backoff.Factor is %v, and has to be from 1 to 100", b.Factor)
	}
	if !(b.Jitter >= 0 && b.Jitter <= 1) {
		return invalid("backoff", "backoff.Jitter is %v, and has to be from 0 to 1, or NoJitter", b.Jitter)
	}
	return nil
}

// size bounds the bytes of the terms in a record.
func (t *terms) size() int {
	size := 180 + len(t.written)
	for _, name := range t.noRetryOn {
		size += len(name) + 5
	}
	for _, text := range [...]*string{t.unique, t.orderKey, t.limitKey, t.group, t.stickyKey} {
		if text != nil {
			size += len(*text)
		}
	}
	return size
}

// millis is a duration on the wire, rounded up: nothing happens earlier than was asked.
func millis(d time.Duration) uint64 {
	return uint64(math.Ceil(float64(max(0, d)) / float64(time.Millisecond)))
}

// duration is one from the wire, in ms.
func duration(ms int64) time.Duration {
	return time.Duration(min(ms, longest.Milliseconds())) * time.Millisecond
}

// append writes the terms as pairs of a map and says how many: delay and deadline as what is left of
// them. What was asked for is written even where it is nothing, or one that the config has would hold.
func (t *terms) append(b []byte, now time.Time) (_ []byte, n int) {
	number := func(key uint64, value uint64) {
		b = wire.AppendUint(wire.AppendUint(b, key), value)
		n++
	}
	text := func(key uint64, value *string) {
		if value != nil {
			b = wire.AppendText(wire.AppendUint(b, key), *value)
			n++
		}
	}
	passed := max(0, now.Sub(t.began))
	if t.delay != nil {
		number(wire.Delay, millis(*t.delay-passed))
	}
	if t.deadline != nil {
		number(wire.Deadline, millis(*t.deadline-passed))
	}
	if t.runTimeout != nil {
		number(wire.RunTimeout, millis(*t.runTimeout))
	}
	if t.heartbeatTimeout != nil {
		number(wire.HeartbeatTimeout, millis(*t.heartbeatTimeout))
	}
	if t.attempts != nil {
		number(wire.Attempts, uint64(*t.attempts))
	}
	if t.priority != nil {
		b = wire.AppendInt(wire.AppendUint(b, wire.Priority), int64(*t.priority))
		n++
	}
	if t.backoff != nil {
		b = wire.AppendList(wire.AppendUint(b, wire.Backoff), 4)
		b = wire.AppendUint(wire.AppendUint(b, millis(t.backoff.First)), millis(t.backoff.Most))
		b = wire.AppendFloat(wire.AppendFloat(b, t.backoff.Factor), t.backoff.Jitter)
		n++
	}
	if len(t.noRetryOn) > 0 {
		b = wire.AppendList(wire.AppendUint(b, wire.NoRetryOn), len(t.noRetryOn))
		for _, name := range t.noRetryOn {
			b = wire.AppendText(b, name)
		}
		n++
	}
	if t.retention != nil {
		number(wire.Retention, millis(*t.retention))
	}
	text(wire.Unique, t.unique)
	if t.uniquePolicy != nil && *t.uniquePolicy != UniqueJoin {
		number(wire.UniquePolicy, uint64(*t.uniquePolicy))
	}
	if t.uniqueFor != nil {
		number(wire.UniqueFor, millis(*t.uniqueFor))
	}
	text(wire.OrderKey, t.orderKey)
	text(wire.LimitKey, t.limitKey)
	text(wire.Group, t.group)
	text(wire.StickyKey, t.stickyKey)
	if t.parent != nil {
		b = wire.AppendBytes(wire.AppendUint(b, wire.Parent), t.parent[:])
		n++
	}
	if t.cost != nil {
		number(wire.Cost, uint64(*t.cost))
	}
	return append(b, t.written...), n + t.writtenN
}
