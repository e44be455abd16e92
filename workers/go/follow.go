package tusk

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// LogLevel says how much a line of a run's log matters.
type LogLevel int

// The levels of log lines.
const (
	LogDebug   LogLevel = 1
	LogInfo    LogLevel = 2
	LogWarning LogLevel = 3
	LogError   LogLevel = 4
)

var levelNames = [...]string{LogDebug: "debug", LogInfo: "info", LogWarning: "warning", LogError: "error"}

// String is the level's name: debug, info, warning or error.
func (l LogLevel) String() string {
	if l < LogDebug || l > LogError {
		return fmt.Sprintf("level %d", int(l))
	}
	return levelNames[l]
}

// LogLine is a line that a run wrote to its log.
type LogLine struct {
	Level   LogLevel
	Text    string
	Attempt int // which run it was, from 1
}

// Progress is what a run said of how far it is.
type Progress struct {
	Attempt int // which run it was, from 1
	body    body
	limit   int64
}

// Decode reads what the run said into the variable that target points to.
func (p *Progress) Decode(target any) error { return p.body.read(target, p.limit) }

// Value reads what the run said as the Go column of BODY.md.
func (p *Progress) Value() (any, error) {
	var found any
	err := p.Decode(&found)
	return found, err
}

// OnProgress has f called with what the task's runs say of their progress. Calls come one after the
// other, in order, in a goroutine that is not the caller's, and all before the call's result: f should
// not take long. What f does not keep up with is missed, beyond 1,024 the oldest, and so is what is told
// while the connection to the broker is gone. A panic in f is told on stderr.
func OnProgress(f func(Progress)) CallOption {
	return func(r *request) { r.follows().progress = f }
}

// OnLog has f called with the lines that the task's runs log, as OnProgress does with progress; of both,
// calls come in the order in which the run spoke.
func OnLog(f func(LogLine)) CallOption {
	return func(r *request) { r.follows().log = f }
}

func (r *request) follows() *follower {
	if r.follow == nil {
		r.follow = &follower{}
	}
	return r.follow
}

// followMost is how many calls of one task's callbacks may wait.
const followMost = 1024

// follower calls a caller's functions, in order, in a goroutine that is there while there is something
// to call.
type follower struct {
	progress func(Progress)
	log      func(LogLine)

	mu      sync.Mutex
	waiting fifoOf[func()]
	runs    bool
	end     func() // comes last
}

// bits is the value of the attribute follow.
func (f *follower) bits() int64 {
	bits := int64(0)
	if f.progress != nil {
		bits |= wire.FollowProgress
	}
	if f.log != nil {
		bits |= wire.FollowLog
	}
	return bits
}

// take hands a progress or log record on; limit bounds what is decompressed, in bytes.
func (f *follower) take(r *wire.Record, limit int64) {
	attempt := 0
	if r.Attrs != nil {
		attempt = int(r.Attrs.Attempt)
	}
	switch {
	case r.Kind == wire.Progress && f.progress != nil:
		p := Progress{Attempt: attempt, body: received(r), limit: limit}
		p.body.bytes = slices.Clone(p.body.bytes) // else it would keep the whole packet
		f.add(func() { f.progress(p) })
	case r.Kind == wire.Log && f.log != nil:
		line := LogLine{LogLevel(r.State), string(r.Text), attempt}
		f.add(func() { f.log(line) })
	}
}

func (f *follower) add(call func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting.len() >= followMost {
		f.waiting.pop()
	}
	f.waiting.push(call)
	f.start()
}

// finish has end called behind all that waits.
func (f *follower) finish(end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = end
	f.start()
}

// start is called under mu.
func (f *follower) start() {
	if !f.runs {
		f.runs = true
		go f.run()
	}
}

func (f *follower) run() {
	for {
		f.mu.Lock()
		var call func()
		switch {
		case f.waiting.len() > 0:
			call = f.waiting.pop()
		case f.end != nil:
			call, f.end = f.end, nil
		default:
			f.runs = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		safely(call)
	}
}

// safely calls a function of the program's; its panic is not the client's.
func safely(call func()) {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(os.Stderr, "tusk: a callback of OnProgress or OnLog panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	call()
}
