package tusk

import (
	"context"
	"iter"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// WithLabels gives the task labels for people, such as its customer: Tasks lists and CancelAll cancels by
// them, and the handler sees them. At most 16; names and texts are UTF-8 of 1 to 255 bytes.
func WithLabels(labels map[string]string) CallOption {
	return func(r *request) { r.asks().labels = labels }
}

// Labels are those of the task, its parent's among them; nil if it has none.
func (t TaskInfo) Labels() map[string]string {
	if t.run == nil || t.run.given == nil {
		return nil
	}
	var labels map[string]string
	_ = value.Decode(t.run.given.labels, &labels) // a broker lets nothing else through
	return labels
}

// AnyLabel as the text of a Filter's label fits every text.
const AnyLabel = ""

// Filter says which tasks are meant: those that fit everything that is set. One that sets nothing is
// ErrInvalid.
type Filter struct {
	Type   string            // tasks of this type
	State  string            // "waiting", "delayed", "running", ...: see TaskStatus.State
	Labels map[string]string // tasks with all of these labels; the text AnyLabel fits any
	Parent TaskID            // children of this task
	MinAge time.Duration     // tasks whose age (see TaskStatus.Age) is at least this, up to 100 years
	All    bool              // all tasks
}

// entries are the filter as the broker wants it.
func (f Filter) entries() (map[string]any, error) {
	entries := map[string]any{}
	if f.Type != "" {
		entries["type"] = f.Type
	}
	if f.State != "" {
		entries["state"] = f.State
	}
	if f.Labels != nil {
		labels := map[string]any{}
		for name, text := range f.Labels {
			if err := checkLabel("filter.labels", name); err != nil {
				return nil, err
			}
			if labels[name] = nil; text != AnyLabel {
				labels[name] = text
			}
		}
		entries["labels"] = labels
	}
	if f.Parent != (TaskID{}) {
		entries["parent"] = f.Parent[:]
	}
	if err := checkDuration("filter.min_age", &f.MinAge, 0); err != nil {
		return nil, err
	}
	if f.MinAge > 0 {
		entries["age"] = millis(f.MinAge)
	}
	if f.All {
		entries["all"] = true
	}
	if len(entries) == 0 {
		return nil, invalid("filter", "the filter has no entry; Filter{All: true} means all tasks")
	}
	return entries, nil
}

// Tasks yields what the broker knows of each task that fits the filter, page by page; tasks that are
// accepted meanwhile may or may not be among them. limit is how many come at a time, from 1 to 1,000; 0
// is 100. An error ends it.
//
//	for task, err := range client.Tasks(ctx, tusk.Filter{Labels: map[string]string{"customer": "acme"}}, 0) { ... }
func (c *Client) Tasks(ctx context.Context, filter Filter, limit int) iter.Seq2[*TaskStatus, error] {
	return func(yield func(*TaskStatus, error) bool) {
		entries, err := filter.entries()
		if err == nil && (limit < 0 || limit > 1000) {
			err = invalid("limit", "limit is %d, and has to be from 1 to 1000, or 0 for 100", limit)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		arguments := map[string]any{"filter": entries}
		if limit > 0 {
			arguments["limit"] = limit
		}
		for more := true; more; {
			var page struct {
				Tasks []toldTask
				Next  any
			}
			if err := c.askFor(ctx, &request{kind: wire.Query, name: "tasks"}, arguments, &page); err != nil {
				yield(nil, err)
				return
			}
			for i := range page.Tasks {
				if !yield(page.Tasks[i].status(), nil) {
					return
				}
			}
			arguments["after"] = page.Next
			more = page.Next != nil
		}
	}
}

// Job is work on many tasks that the broker does in small steps beside all other.
type Job struct {
	Number  int64  `msgpack:"job"`
	What    string // "cancel", "retry" or "reprioritise"
	State   string // "running" or "done"
	DryRun  bool   `msgpack:"dry_run"` // it only counts
	Total   int64  // tasks to look at
	Looked  int64  // of them, looked at so far
	Matched int64  // fit the filter
	Changed int64  // were cancelled, retried or given the priority; none in a dry run
	Failed  int64  // could not be
}

// JobOption changes how CancelAll, RetryAll and ReprioritiseAll go about it.
type JobOption func(*jobOptions)

type jobOptions struct {
	dryRun, noWait bool
	progress       func(Job)
}

// DryRun only counts the tasks that fit.
func DryRun() JobOption { return func(o *jobOptions) { o.dryRun = true } }

// NoWait returns as soon as the broker has begun, with nothing but the job's Number; see Client.Jobs.
func NoWait() JobOption { return func(o *jobOptions) { o.noWait = true } }

// OnJob has f called, by the goroutine that waits, whenever it has asked how far the job is.
func OnJob(f func(Job)) JobOption { return func(o *jobOptions) { o.progress = f } }

// CancelAll cancels all tasks that fit the filter and had been accepted when the broker took this, and
// waits until that is done. The end of ctx ends the waiting, not the job. At most 16 jobs run at a time;
// one more is ErrFull.
//
//	job, err := client.CancelAll(ctx, tusk.Filter{Type: "report", State: "waiting"})
//	fmt.Println(job.Matched, job.Changed, job.Failed)
func (c *Client) CancelAll(ctx context.Context, filter Filter, options ...JobOption) (Job, error) {
	return c.job(ctx, "cancel", filter, map[string]any{}, options)
}

// RetryAll runs those of the tasks that fit which are delayed at once, and submits those again, under new
// ids, that have failed or are dead and are kept for their WithRetention. Else it is as CancelAll.
func (c *Client) RetryAll(ctx context.Context, filter Filter, options ...JobOption) (Job, error) {
	id := NewTaskID()
	return c.job(ctx, "retry", filter, map[string]any{"id": id[:]}, options)
}

// ReprioritiseAll gives the tasks that fit and wait another priority. Else it is as CancelAll.
func (c *Client) ReprioritiseAll(ctx context.Context, filter Filter, priority Priority, options ...JobOption) (Job, error) {
	if err := checkPriority(priority); err != nil {
		return Job{}, err
	}
	return c.job(ctx, "reprioritise", filter, map[string]any{"priority": int(priority)}, options)
}

func (c *Client) job(ctx context.Context, what string, filter Filter, arguments map[string]any, options []JobOption) (Job, error) {
	var o jobOptions
	for _, option := range options {
		option(&o)
	}
	entries, err := filter.entries()
	if err != nil {
		return Job{}, err
	}
	arguments["filter"] = entries
	if o.dryRun {
		arguments["dry_run"] = true
	}
	var begun struct{ Job int64 }
	if err := c.askFor(ctx, &request{kind: wire.Control, name: what}, arguments, &begun); err != nil {
		return Job{}, err
	}
	job := Job{Number: begun.Job, What: what, DryRun: o.dryRun, State: "running"}
	if o.noWait {
		return job, nil
	}
	return c.waitForJob(ctx, job, o.progress)
}

// The pauses between two looks at a job grow from the one to the other.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = 500 * time.Millisecond
)

func (c *Client) waitForJob(ctx context.Context, job Job, progress func(Job)) (Job, error) {
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		jobs, err := c.Jobs(ctx)
		if err != nil {
			return job, err
		}
		known := false
		for _, other := range jobs {
			if other.Number == job.Number {
				job, known = other, true
			}
		}
		if !known {
			return job, c.failure(&request{}, ErrUnknownOutcome, "the broker no longer knows job %d: it was restarted, or 64 others were done since; list the tasks to see what has become of them", job.Number)
		}
		if progress != nil {
			progress(job)
		}
		if job.State == "done" {
			return job, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return job, c.contextError(&request{kind: wire.Control, name: job.What}, ctx.Err())
		}
	}
}

// Jobs are the broker's jobs that run, and the last 64 that are done.
func (c *Client) Jobs(ctx context.Context) (jobs []Job, err error) {
	return jobs, c.askFor(ctx, &request{kind: wire.Query, name: "jobs"}, nil, &jobs)
}
