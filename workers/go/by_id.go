package tusk

import (
	"context"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// WithRetention keeps the task's ending for so long after it, up to 100 years and within the broker's
// memory for such endings, for whoever asks by AwaitTask. Without it an ending is kept until its
// submitter has it.
func WithRetention(d time.Duration) CallOption {
	return func(r *request) { r.asks().retention = &d }
}

// WithBody is the body that an Update gives the task; nil is one, null. No other call takes it.
func WithBody(v any) CallOption {
	return func(r *request) { r.change = &v }
}

// AwaitTask waits for the ending of a task that anybody submitted, and decodes what its handler returned
// as Call does. It takes WithTimeout, OnProgress and OnLog. The end of ctx ends only the waiting.
//
// A task that the broker does not know is ErrUnknownTask; one that has ended, and whose ending is not
// kept, ErrAlreadyEnded: see WithRetention.
func AwaitTask[Out any](ctx context.Context, c *Client, id TaskID, options ...CallOption) (Out, error) {
	var out Out
	r, err := c.awaiting(ctx, id, options)
	if err == nil {
		err = c.enqueue(r)
	}
	if err == nil {
		err = c.await(ctx, r)
	}
	if err == nil {
		err = r.read(&out, c)
	}
	return out, err
}

// AwaitAll is AwaitTask for many tasks: they are asked for together, and what became of each stands at
// the place of its id. The time-out, the context's end and the options are those of all of them.
func AwaitAll[Out any](ctx context.Context, c *Client, ids []TaskID, options ...CallOption) []Outcome[Out] {
	outcomes := make([]Outcome[Out], len(ids))
	requests := make([]*request, len(ids))
	var err error
	for i, id := range ids {
		outcomes[i].Index = i
		if err == nil {
			requests[i], err = c.awaiting(ctx, id, options)
		}
	}
	if err == nil && len(ids) > 0 {
		err = c.enqueue(requests...)
	}
	for i, r := range requests {
		o := &outcomes[i]
		if o.Err = err; err != nil {
			continue
		}
		if o.Err = c.await(ctx, r); o.Err == nil {
			o.Err = r.read(&o.Value, c)
		}
	}
	return outcomes
}

// awaiting makes the request that asks for an ending.
func (c *Client) awaiting(ctx context.Context, id TaskID, options []CallOption) (*request, error) {
	r := &request{kind: wire.Await, name: "await"}
	for _, option := range options {
		option(r)
	}
	if r.terms != nil || r.change != nil || r.asksAsSubmit() {
		return nil, newError(ErrInvalid, id, "awaiting a task takes WithTimeout, OnProgress and OnLog; all else is said when it is submitted")
	}
	r.id = id
	return r, c.prepare(ctx, r)
}

// asksAsSubmit says whether options were given that say how something is sent.
func (r *request) asksAsSubmit() bool {
	return r.id != (TaskID{}) || r.window != nil || r.resent || r.rerunOK || r.trace != "" || r.baggage != ""
}

// Update changes a task that waits or is delayed: WithPriority, WithDelay (from now; 0: at once) or
// WithNotBefore, and WithBody. What is not given stays. It says in which state the task is, and whether
// it was changed: one that runs or has ended is not. A task whose priority changes stands behind those of
// its new priority. Errors: ErrUnknownTask.
//
//	state, updated, err := client.Update(ctx, id, tusk.WithPriority(tusk.PriorityHigh))
func (c *Client) Update(ctx context.Context, id TaskID, changes ...CallOption) (state string, updated bool, err error) {
	r := &request{kind: wire.Update, name: "update"}
	for _, change := range changes {
		change(r)
	}
	if r.follow != nil || r.asksAsSubmit() || r.terms != nil && r.terms.fixed() {
		return "", false, newError(ErrInvalid, id, "an update takes WithPriority, WithDelay, WithNotBefore, WithBody and WithTimeout; all else stays as it was submitted")
	}
	r.id = id
	if r.change != nil {
		if r.body, err = writeBody(*r.change, c.session.terms()); err != nil {
			return "", false, err
		}
	}
	if r.terms != nil {
		if err = r.terms.begin(time.Now()); err != nil {
			return "", false, err
		}
	}
	var answer struct {
		State   string
		Updated bool
	}
	err = c.answerInto(ctx, r, &answer)
	return answer.State, answer.Updated, err
}

// fixed says whether the terms have what cannot be changed any more.
func (t *terms) fixed() bool {
	return t.deadline != nil || t.runTimeout != nil || t.heartbeatTimeout != nil || t.attempts != nil || t.backoff != nil ||
		t.noRetryOn != nil || t.unique != nil || t.uniquePolicy != nil || t.uniqueFor != nil || t.retention != nil ||
		t.orderKey != nil || t.limitKey != nil || t.group != nil || t.cost != nil || t.labels != nil ||
		t.requires != nil || t.prefers != nil || t.consumes != nil || t.stickyKey != nil
}

// TaskStatus is what the broker knows of a task.
type TaskStatus struct {
	ID TaskID
	// State is "delayed", "waiting", "running", "succeeded", "failed", "expired", "cancelled" or "dead";
	// or "unknown". If it is that, or the broker has let go of the ending, there is nothing else here.
	State    string
	Type     string
	Labels   map[string]string // nil: none
	Parent   TaskID            // whose run submitted it; zero: none
	Group    string            // may be empty
	Attempts int               // runs that were begun
	Failures int               // runs that failed
	Crashes  int               // workers that died of it
	Priority Priority
	Age      time.Duration // since it was accepted or became due; once it ended: since then
	Worker   string        // that runs it, or ran it last; may be empty
	History  []Attempt     // the last 16 runs that failed; their times are before now
	Error    *Failure      // once it ended without success
}

// Failure is what the worker's language says about a failure.
type Failure struct {
	Type     string // the exception's class
	Message  string
	Language string
	Stack    string // as that language prints it; may be empty
}

// Task asks for what the broker knows of a task. That it knows nothing is no error: then the state is
// "unknown".
func (c *Client) Task(ctx context.Context, id TaskID) (*TaskStatus, error) {
	told := toldTask{ID: id[:]}
	r := &request{kind: wire.Query, name: "task", id: id}
	if err := c.askFor(ctx, r, map[string]any{"id": id[:]}, &told); err != nil {
		return nil, err
	}
	return told.status(), nil
}

// toldTask is a task as the broker tells of it.
type toldTask struct {
	ID, Parent                  []byte
	State, Type, Group, Worker  string
	Labels                      map[string]string
	Attempts, Failures, Crashes int
	Priority                    int
	Age                         int64 // ms
	History                     []toldAttempt
	Error                       *failure
}

func (t *toldTask) status() *TaskStatus {
	status := &TaskStatus{State: t.State, Type: t.Type, Group: t.Group, Worker: t.Worker, Labels: t.Labels,
		Attempts: t.Attempts, Failures: t.Failures, Crashes: t.Crashes, Priority: Priority(t.Priority),
		Age: duration(t.Age), History: attempts(t.History)}
	copy(status.ID[:], t.ID)
	copy(status.Parent[:], t.Parent)
	if t.Error != nil {
		failure := Failure(*t.Error)
		status.Error = &failure
	}
	return status
}
