package tusk

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// The methods of TaskInfo in this file say something of a run that goes on, or ask something about it.
// Any goroutine may call them, and none waits for the network. Once the run is over they do nothing.

// cutMark ends a log line that was too long.
const cutMark = " ... [cut]"

// noticesMost bounds, in bytes, what waits to be sent of progress and logs.
const noticesMost = 16 << 20

// notice is what a run says of itself while it goes on.
type notice struct {
	run    *run
	kind   wire.Kind
	body   body // of a progress or checkpoint; none: a sign of life, or no checkpoint any more
	level  LogLevel
	text   string // of a log; of a suspend: its ids, as msgpack
	time   uint64 // ms of a pause
	queued bool
}

func (n *notice) cost() int64 { return int64(len(n.body.bytes)+len(n.text)) + 200 }

// Progress tells those who follow the task how far this run is, as any value. Whoever is away, or slow,
// misses it. It is a sign of life too.
func (t TaskInfo) Progress(v any) error {
	if !t.goesOn() {
		return nil
	}
	b, err := writeBody(v, t.run.handler.worker.session.terms())
	if err == nil {
		t.say(&notice{kind: wire.Progress, body: b})
	}
	return err
}

// Heartbeat is a sign of life, for tasks with a WithHeartbeatTimeout. Nobody is told of it.
func (t TaskInfo) Heartbeat() {
	if t.goesOn() {
		t.say(&notice{kind: wire.Progress})
	}
}

// Log tells those who follow the task a line of text. What is longer than 16 KiB is cut, and ends in
// "[cut]". The error is about a level that does not exist.
func (t TaskInfo) Log(level LogLevel, text string) error {
	if level < LogDebug || level > LogError {
		return newError(ErrInvalid, t.ID, "%v does not exist; there are LogDebug, LogInfo, LogWarning and LogError", level)
	}
	if t.goesOn() {
		t.say(&notice{kind: wire.Log, level: level, text: cut(text)})
	}
	return nil
}

func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= wire.MaxLog {
		return text
	}
	end := wire.MaxLog - len(cutMark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cutMark
}

// Checkpoint keeps a value for the next run of this task, whether this one fails, is deferred or dies
// with its worker; see LastCheckpoint. It replaces the one before. One that is larger than the broker
// allows (256 KiB unless its config says otherwise) is ErrTooLarge.
func (t TaskInfo) Checkpoint(v any) error {
	if !t.goesOn() {
		return nil
	}
	text, err := value.Append(nil, v)
	if err != nil {
		return newError(ErrBody, t.ID, "the checkpoint cannot be written: %v", err)
	}
	if size, limit := int64(len(text)), t.run.handler.worker.session.terms().Limits.Checkpoint; size > limit {
		err := newError(ErrTooLarge, t.ID, "the checkpoint has %d bytes, the limit `checkpoint` is %d", size, limit)
		err.Details = map[string]any{"limit": "checkpoint", "value": limit}
		return err
	}
	t.say(&notice{kind: wire.Checkpoint, body: body{bytes: text}})
	return nil
}

// ClearCheckpoint takes the checkpoint away: the next run gets none.
func (t TaskInfo) ClearCheckpoint() {
	if t.goesOn() {
		t.say(&notice{kind: wire.Checkpoint})
	}
}

// LastCheckpoint reads what an earlier run of this task kept, last of all, into the variable that target
// points to. It says whether there was something; an error says that it does not fit.
//
//	var line int
//	_, err := task.LastCheckpoint(&line) // 0 in the first run
func (t TaskInfo) LastCheckpoint(target any) (bool, error) {
	if t.run == nil || t.run.given == nil || t.run.given.checkpoint == nil {
		return false, nil
	}
	if err := value.Decode(t.run.given.checkpoint, target); err != nil {
		return true, newError(ErrBody, t.ID, "the checkpoint cannot be read: %v", err)
	}
	return true, nil
}

// TimeLeft is how long this run may still take, 0 at the least, if there is a bound: the smaller of its
// run time-out and what is left of the task's deadline.
func (t TaskInfo) TimeLeft() (left time.Duration, bounded bool) {
	if t.run == nil || t.run.given == nil || t.run.given.due.IsZero() {
		return 0, false
	}
	return max(0, time.Until(t.run.given.due)), true
}

// PauseType keeps all tasks of this run's type from starting for so long, up to 100 years, wherever
// their workers are: for a handler that knows that none of them can run for a while. 0 ends the pause.
// This run goes on.
func (t TaskInfo) PauseType(d time.Duration) error {
	if err := checkDuration("the pause", &d, 0); err != nil {
		return err
	}
	if t.goesOn() {
		t.say(&notice{kind: wire.Pause, time: millis(d)})
	}
	return nil
}

// CancelReason says why this run was told to stop: "cancelled", "deadline", "run_timeout",
// "heartbeat_timeout", "parent" when the task whose child this is was cancelled or expired, or "moved" when
// another worker has it now. It is empty while it was not.
func (t TaskInfo) CancelReason() string {
	if t.run == nil {
		return ""
	}
	t.run.ctx.mu.Lock()
	defer t.run.ctx.mu.Unlock()
	return t.run.ctx.reason
}

func (t TaskInfo) goesOn() bool { return t.run != nil && t.run.status.Load() == runStarted }

func (t TaskInfo) say(n *notice) {
	n.run = t.run
	t.run.handler.worker.say(n)
}

// say queues a notice. Of what a run keeps or pauses the last word is enough; progress and logs are told
// at most once, and beyond the bound not at all.
func (w *Worker) say(n *notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last **notice
	switch {
	case n.kind == wire.Checkpoint:
		last = &n.run.kept
	case n.kind == wire.Pause:
		last = &n.run.pause
	case w.noticeBytes+n.cost() > noticesMost:
		return
	}
	if last != nil {
		if old := *last; old != nil && old.queued {
			w.noticeBytes += n.cost() - old.cost()
			old.body, old.time = n.body, n.time
			return
		}
		*last = n
	}
	w.queueNotice(n)
}

// queueNotice is called under mu.
func (w *Worker) queueNotice(n *notice) {
	n.queued = true
	w.notices.push(n)
	w.noticeBytes += n.cost()
	w.noticed.Store(true)
	w.session.wake()
}

// keepAgain tells another session the checkpoint of a run that goes on in it: its broker may not know
// that of the one before.
func (w *Worker) keepAgain(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.kept != nil && !r.kept.queued {
		w.queueNotice(r.kept)
	}
}

// flushNotices writes what runs have said, in the session's goroutine. False: there is no room for all
// of it, and results have to wait, for they come behind.
func (w *Worker) flushNotices() bool {
	if !w.noticed.Load() {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.notices.len() > 0 {
		n := w.notices.first()
		if !w.session.room(len(n.body.bytes)) {
			return false
		}
		w.notices.pop()
		n.queued = false
		w.noticeBytes -= n.cost()
		// What was said when the run was over, or is not of this worker any more, is of no use.
		if w.runs[n.run.handle] == n.run && w.fits(n) {
			w.writeNotice(n)
		}
	}
	w.noticed.Store(false)
	return true
}

// fits looks again at the limits: they may be those of another session.
func (w *Worker) fits(n *notice) bool {
	limits := &w.session.terms().Limits
	limit := limits.Body
	if n.kind == wire.Checkpoint {
		limit = limits.Checkpoint
	}
	return int64(len(n.body.bytes)) <= limit
}

func (w *Worker) writeNotice(n *notice) {
	p := w.session.put(40+len(n.text), n.body.bytes)
	switch n.kind {
	case wire.Progress, wire.Chunk:
		switch {
		case n.body.bytes == nil:
			p.list(2, n.kind, n.run.handle)
		case n.body.compressed:
			p.list(4, n.kind, n.run.handle)
			p.body(n.body.bytes)
			attributes := pairs{}
			attributes.add(wire.Compression, 1)
			p.head = attributes.append(p.head)
		default:
			p.list(3, n.kind, n.run.handle)
			p.body(n.body.bytes)
		}
	case wire.Log:
		p.list(4, wire.Log, n.run.handle)
		p.head = wire.AppendUint(p.head, uint64(n.level))
		p.head = wire.AppendText(p.head, n.text)
	case wire.Suspend:
		p.list(3, wire.Suspend, n.run.handle)
		p.head = append(p.head, n.text...)
	case wire.Checkpoint:
		p.list(3, wire.Checkpoint, n.run.handle)
		p.body(n.body.bytes)
	case wire.Pause:
		p.list(3, wire.Pause, n.run.handle)
		p.head = wire.AppendUint(p.head, n.time)
	}
}
