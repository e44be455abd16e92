package tusk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// DefaultURL is where a broker listens unless its config says otherwise.
const DefaultURL = "tcp://127.0.0.1:7420"

// NoTimeout as a Timeout waits for ever, for a broker too.
const NoTimeout = time.Duration(-1)

// closeWithin is how long Close tries to hand over what has been asked.
const closeWithin = time.Second

// maxTrace bounds a trace and a baggage, in bytes.
const maxTrace = 8192

// maxPending bounds the requests of one client that have no answer.
const maxPending = 1 << 20

// Options say how a client reaches its broker. The zero value is good.
type Options struct {
	// URL of the broker, tcp:// or ipc://. Default: the environment's TUSK_URL, else DefaultURL.
	URL string
	// Timeout of a call whose context has no deadline, from 1 ms. Default: what the broker says,
	// 5 s until it has been reached. NoTimeout: none.
	Timeout time.Duration
	// Name for people, in the broker's lists. Default: go-<pid>.
	Name string

	elsewhereAfter time.Duration // of the session, for tests
}

// Client asks a broker for work. It connects in the background and survives broken connections and
// restarts of the broker; its calls fail with ErrUnavailable when no broker was there in their time.
// All methods may be called by many goroutines.
type Client struct {
	options Options
	session *session
	stopped chan struct{} // closed when the session's goroutine has ended

	mu      sync.Mutex
	queue   []*request // asked, and not yet seen by the session's goroutine
	closing bool
	queued  atomic.Int64 // the cost of what is queued and not in a packet, in bytes
	pending atomic.Int64 // requests without an answer

	// The session's goroutine owns the rest.
	fresh   []*request
	backlog fifo // not sent in this session
	pushes  fifo // the same for pushes, which wait for their window
	pushing int  // pushes unanswered
	numbers map[int64]*request
	last    int64 // the last request number
	dates   deadlines
	held    []*request // the broker leaves: for the next one
	leaves  bool
	closeBy time.Time
	topics  map[string][]*Subscription // by topic or pattern, those that the broker has accepted
	// By topic or pattern: how many Subscribe wait for their answer.
	subscribing map[string]int
	sessions    int64 // how many there have been
	epoch       int64
}

// NewClient makes a client. It does not wait for the broker; the error is about the URL.
func NewClient(options Options) (*Client, error) {
	options.URL = firstOf(options.URL, os.Getenv("TUSK_URL"), DefaultURL)
	c := &Client{options: options, stopped: make(chan struct{}), numbers: map[int64]*request{},
		topics: map[string][]*Subscription{}, subscribing: map[string]int{}}
	var err error
	if c.session, err = newSession(options.URL, c, true); err != nil {
		return nil, &Error{Code: string(ErrInvalid), Message: err.Error(), URL: options.URL}
	}
	if options.elsewhereAfter > 0 {
		c.session.elsewhereAfter = options.elsewhereAfter
	}
	go func() {
		defer close(c.stopped)
		c.session.run()
	}()
	return c, nil
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// URL is where this client's broker is.
func (c *Client) URL() string { return c.options.URL }

// Close hands over what was asked before it, within a second, says goodbye and frees the client.
// Whatever still waits for an answer fails with ErrClosed; if tasks are among it, a line on stderr
// says how many. Calling it again does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.session.wake()
	<-c.stopped
	return nil
}

// CallOption changes one call.
type CallOption func(*request)

// WithTimeout is how long to wait from now on, from 1 ms, or NoTimeout. The context's deadline holds
// too if it is earlier.
func WithTimeout(timeout time.Duration) CallOption {
	return func(r *request) { r.patience = timeout }
}

// WithID names the task or item. The same id with the same type and body joins what is there.
func WithID(id TaskID) CallOption {
	return func(r *request) { r.id = id }
}

// Resent says that this id may have been sent before, perhaps by another process. If the broker no
// longer knows what became of it the call fails with ErrUnknownOutcome.
func Resent() CallOption {
	return func(r *request) { r.resent = true }
}

// RerunOK says that a second run does no harm, so that there is never ErrUnknownOutcome.
func RerunOK() CallOption {
	return func(r *request) { r.rerunOK = true }
}

// WithTrace hands the W3C traceparent of the caller on to the handler, to subscribers for an event. It is
// UTF-8 of at most 8,192 bytes.
func WithTrace(traceparent string) CallOption {
	return func(r *request) { r.trace = traceparent }
}

// WithBaggage hands the W3C baggage of the caller on as WithTrace does the trace, with the same bounds.
func WithBaggage(baggage string) CallOption {
	return func(r *request) { r.baggage = baggage }
}

// Call runs a task and waits for what its handler returns.
//
//	sum, err := tusk.Call[int](ctx, client, "add", map[string]any{"a": 1, "b": 2})
//
// The value must fit Out exactly; with Out any it is the Go column of BODY.md. The end of ctx cancels
// the task; its deadline is the time-out, after which the task goes on. Errors are a *TaskError if
// the task did not succeed, else an *Error.
func Call[Out any](ctx context.Context, c *Client, taskType string, in any, options ...CallOption) (Out, error) {
	var out Out
	r, err := c.submit(ctx, taskType, in, 0, nil, options)
	if err == nil {
		err = c.await(ctx, r)
	}
	if err == nil {
		err = r.read(&out, c)
	}
	return out, err
}

// Enqueue submits a task and returns when the broker has accepted it. Nobody is told its ending; ask
// by AwaitTask, or Client.Task.
func (c *Client) Enqueue(ctx context.Context, taskType string, in any, options ...CallOption) (TaskID, error) {
	r, err := c.submit(ctx, taskType, in, acceptedOnly, nil, options)
	if err != nil {
		return TaskID{}, err
	}
	return r.id, c.await(ctx, r)
}

// Submit submits a task and does not wait. ctx is looked at before, not afterwards; its deadline is
// the task's time-out.
func (c *Client) Submit(ctx context.Context, taskType string, in any, options ...CallOption) (*Task, error) {
	keep := func(r *request) { r.keep = true }
	r, err := c.submit(ctx, taskType, in, 0, nil, append(options[:len(options):len(options)], keep))
	if err != nil {
		return nil, err
	}
	return &Task{client: c, request: r}, nil
}

func (c *Client) submit(ctx context.Context, taskType string, in any, reply int64, notify chan<- *request,
	options []CallOption) (*request, error) {
	r := &request{kind: wire.Submit, name: taskType, reply: reply, notify: notify}
	return r, c.start(ctx, r, in, options)
}

// start writes the body, gives the request an id and a deadline, and queues it.
func (c *Client) start(ctx context.Context, r *request, in any, options []CallOption) (err error) {
	if err = c.bodyOf(r, in); err != nil {
		return err
	}
	return c.startWritten(ctx, r, options)
}

// startWritten starts a request that has its body, or none.
func (c *Client) startWritten(ctx context.Context, r *request, options []CallOption) error {
	for _, option := range options {
		option(r)
	}
	for _, text := range [...]string{r.trace, r.baggage} {
		if len(text) > maxTrace || !utf8.ValidString(text) {
			return newError(ErrInvalid, r.id, "trace and baggage are UTF-8 of at most %d bytes, not %.40q...", maxTrace, text)
		}
	}
	if r.terms != nil || r.follow != nil || r.change != nil || r.window != nil {
		if err := r.checkTerms(); err != nil {
			return err
		}
	}
	if r.id == (TaskID{}) && r.kind != wire.Publish {
		r.id = NewTaskID()
	}
	return c.ask(ctx, r)
}

// checkTerms looks at what only a task may ask for.
func (r *request) checkTerms() error {
	switch {
	case r.change != nil:
		return invalid("body", "WithBody is for Update; this has its body already")
	case r.kind != wire.Submit:
		return newError(ErrInvalid, r.id, "what an item or event is sent with has no say in how a task runs: only tasks have priorities, times, attempts and callbacks")
	case r.follow != nil && r.reply == acceptedOnly:
		return newError(ErrInvalid, r.id, "OnProgress and OnLog need somebody who waits for the result: Call or Submit, not Enqueue")
	case r.window != nil && r.stream == nil:
		return invalid("window", "WithWindow is for Stream; this has no chunks")
	case r.window != nil && (*r.window < 1 || *r.window > wire.MaxStream):
		return invalid("window", "window is %d, and has to be from 1 to %d", *r.window, wire.MaxStream)
	case r.terms != nil:
		return r.terms.begin(time.Now())
	}
	return nil
}

// ask queues a request that is whole but for its deadline.
func (c *Client) ask(ctx context.Context, r *request) error {
	if err := c.prepare(ctx, r); err != nil {
		return err
	}
	return c.enqueue(r)
}

// prepare gives a request its deadline.
func (c *Client) prepare(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return c.contextError(r, err)
	}
	if err := checkName(r.name); err != nil {
		return err
	}
	if r.patience == 0 {
		r.patience = c.options.Timeout
	}
	if r.patience == 0 {
		r.patience = time.Duration(c.session.terms().Timeout) * time.Millisecond
	}
	if r.patience > 0 {
		r.deadline = time.Now().Add(max(r.patience, time.Millisecond))
	}
	if deadline, ok := ctx.Deadline(); ok && (r.patient || r.deadline.IsZero() || deadline.Before(r.deadline)) {
		r.deadline, r.patient = deadline, false
	}
	r.bounded = !r.deadline.IsZero() && !r.patient
	r.done = make(chan struct{})
	return nil
}

func checkName(name string) error {
	switch {
	case len(name) > wire.MaxName:
		err := newError(ErrTooLarge, TaskID{}, "the name %.40q... has %d bytes, the limit is %d", name, len(name), wire.MaxName)
		err.Details = map[string]any{"limit": "name", "value": int64(wire.MaxName)}
		return err
	case !utf8.ValidString(name) || name == "":
		return newError(ErrInvalid, TaskID{}, "the name %q is empty or not UTF-8", name)
	}
	return nil
}

// enqueue queues requests so that they go into one packet if they fit.
func (c *Client) enqueue(all ...*request) error {
	limit := c.session.terms().Limits.SessionBytes
	r, cost := all[0], int64(0)
	for _, r := range all {
		cost += r.cost()
	}
	c.mu.Lock()
	switch {
	case c.closing:
		c.mu.Unlock()
		return c.failure(r, ErrClosed, "the client was closed")
	case c.queued.Load()+c.session.unacknowledged()+cost > limit && c.pending.Load() > 0:
		c.mu.Unlock()
		err := c.failure(r, ErrBusy, "more than %d bytes wait for the broker (limit `session_bytes`)", limit)
		err.Details = map[string]any{"limit": "session_bytes", "value": limit}
		return err
	case c.pending.Load()+int64(len(all)) > maxPending:
		c.mu.Unlock()
		return c.failure(r, ErrBusy, "%d requests wait for an answer", maxPending)
	}
	for _, r := range all {
		c.insist(r)
	}
	c.mu.Unlock()
	c.session.wake()
	return nil
}

// insist queues a request whatever is queued already. mu is held.
func (c *Client) insist(r *request) {
	c.queued.Add(r.cost())
	c.pending.Add(1)
	c.queue = append(c.queue, r)
}

func (c *Client) failure(r *request, code code, format string, args ...any) *Error {
	return &Error{Code: string(code), Message: fmt.Sprintf(format, args...), ID: r.id, URL: c.options.URL}
}

// await waits until the request has ended or ctx is done; then the request is given up.
func (c *Client) await(ctx context.Context, r *request) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if r.bounded && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		<-r.done // the request's deadline is no later, and it knows more of what happened
		return r.err
	}
	c.giveUp(r)
	select {
	case <-r.done:
		if !r.givenUp { // it ended meanwhile
			return r.err
		}
	default:
	}
	return c.contextError(r, ctx.Err())
}

// giveUp tells the broker, without waiting, that nobody wants the answer any more.
func (c *Client) giveUp(r *request) {
	c.tell(&request{kind: wire.Cancel, id: r.id, target: r})
}

// tell queues a request whose answer nobody waits for. It is small, and no bound holds it up.
func (c *Client) tell(r *request) {
	r.done = make(chan struct{})
	c.mu.Lock()
	if !c.closing {
		c.insist(r)
	}
	c.mu.Unlock()
	c.session.wake()
}

func (c *Client) contextError(r *request, cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		err := c.failure(r, ErrTimeout, "the context's deadline passed")
		err.cause = cause
		return err
	}
	if r.kind != wire.Submit && r.kind != wire.Push { // it ends only the waiting
		err := c.failure(r, ErrCancelled, "the caller's context ended; what it asked about goes on")
		err.cause = cause
		return err
	}
	return &TaskError{State: string(ErrCancelled), ID: r.id, TaskType: r.name,
		Message: "the caller's context ended", cause: cause}
}

// read decodes the ending of a success.
func (r *request) read(target any, c *Client) error {
	err := r.ending.read(target, c.session.terms().Limits.Body)
	var e *Error
	if errors.As(err, &e) {
		e.ID, e.URL = r.id, c.options.URL
	}
	return err
}

// Query asks the broker about itself: "status", "workers", "types", "stages" or "topics"; for "task"
// there is Client.Task. The answer is a map or a list of maps, as SPEC.md says.
func (c *Client) Query(ctx context.Context, what string, arguments map[string]any) (any, error) {
	var found any
	err := c.askFor(ctx, &request{kind: wire.Query, name: what}, arguments, &found)
	return found, err
}

// askFor sends a query or control with arguments, if there are any, and reads the answer into the
// variable that target points to.
func (c *Client) askFor(ctx context.Context, r *request, arguments map[string]any, target any) (err error) {
	if arguments != nil {
		if r.args, err = value.Append(nil, arguments); err != nil {
			return newError(ErrBody, r.id, "the arguments cannot be written: %v", err)
		}
	}
	return c.answerInto(ctx, r, target)
}

// Cancel cancels a task by its id. It returns the state that the task is now in: "cancelled",
// "cancelling" while its worker winds down, or the ending that it already had.
func (c *Client) Cancel(ctx context.Context, id TaskID) (string, error) {
	var answer struct{ State string }
	err := c.answerInto(ctx, &request{kind: wire.Cancel, name: "cancel", id: id}, &answer)
	return answer.State, err
}

// answerInto reads the answer into the variable that target points to.
func (c *Client) answerInto(ctx context.Context, r *request, target any) error {
	if err := c.ask(ctx, r); err != nil {
		return err
	}
	if err := c.await(ctx, r); err != nil {
		return err
	}
	if err := value.Decode(r.answer, target); err != nil {
		return c.failure(r, ErrBody, "the answer cannot be read: %v", err)
	}
	return nil
}
