package tusk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestAWorkerSaysWhatItHas(t *testing.T) {
	t.Setenv("TUSK_LABELS", `{"gpu": 2, "region": "eu", "disk": "hdd"}`)
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Labels: map[string]any{"disk": "ssd", "gb": 64}}, func(w *Worker) { Handle(w, "add", add) })
	want := map[string]any{"gpu": int64(2), "region": "eu", "disk": "ssd", "gb": int64(64)}
	if got := b.hello().fields["labels"]; !reflect.DeepEqual(got, want) {
		t.Fatal(got)
	}
}

func TestLabelsOfAWorkerThatAreOutOfRangeKeepItFromStarting(t *testing.T) {
	for text, says := range map[string]string{
		`{"gpu": 2`:      "TUSK_LABELS is \"{\\\"gpu\\\": 2\", and has to be a JSON object",
		`null`:           "TUSK_LABELS is \"null\"",
		`["gpu"]`:        "TUSK_LABELS is",
		`{} {}`:          "TUSK_LABELS is",
		`{"gpu": 1.5}`:   "TUSK_LABELS: \"gpu\" is 1.5, and has to be a text or a whole number",
		`{"gpu": true}`:  "labels: \"gpu\" is true, and has to be",
		`{"gpu": -1}`:    "labels: \"gpu\" is -1, and has to be a text of 1 to 255 bytes or a whole number from 0 to 1000000000",
		`{"": "x"}`:      "labels has \"\"",
		`{"region": ""}`: "labels: region has \"\"",
	} {
		t.Setenv("TUSK_LABELS", text)
		w := NewWorker(WorkerOptions{URL: "ipc:///nobody"})
		Handle(w, "add", add)
		if err := w.Run(ctx); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	t.Setenv("TUSK_LABELS", "")
	w := NewWorker(WorkerOptions{URL: "ipc:///nobody", Labels: labelsOf(texts(33))})
	Handle(w, "add", add)
	if err := w.Run(ctx); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "labels has 33 entries, and may have 32") {
		t.Error(err)
	}
}

func TestAHandlerSeesTheLabelsOfItsTask(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (map[string]string, error) {
			task, _ := TaskFromContext(ctx)
			return task.Labels(), nil
		})
	})
	l := b.accept(5, nil)
	id := NewTaskID()
	l.send([]any{wire.Task, 1, id[:], "f", 1, pack(t, nil), attributes{18: map[string]any{"customer": "acme"}}})
	if r := l.expect(wire.Result); string(r.Body) != string(pack(t, map[string]any{"customer": "acme"})) {
		t.Fatal(describe(r))
	}
	l.send([]any{wire.Task, 2, id[:], "f", 1, pack(t, nil)})
	if r := l.expect(wire.Result); string(r.Body) != string(pack(t, nil)) {
		t.Fatal(describe(r))
	}
	if labels := (TaskInfo{}).Labels(); labels != nil {
		t.Fatal(labels)
	}
}

func TestTasksAreListedPageByPage(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	parent := NewTaskID()
	filter := Filter{Type: "f", State: "waiting", Labels: map[string]string{"customer": "acme", "build": AnyLabel},
		Parent: parent, MinAge: 1500 * time.Microsecond, All: true}
	want := map[string]any{"filter": map[string]any{"type": "f", "state": "waiting", "parent": parent[:], "age": int64(2), "all": true,
		"labels": map[string]any{"customer": "acme", "build": nil}}, "limit": int64(2)}
	ids := []TaskID{NewTaskID(), NewTaskID(), NewTaskID()}
	found := background(func() (found []TaskID, err error) {
		for task, err := range c.Tasks(ctx, filter, 2) {
			if err != nil {
				return found, err
			}
			if task.Type != "f" || task.State != "waiting" || task.Labels["customer"] != "acme" || task.Parent != parent || task.Group != "g" || task.Age != time.Second {
				return found, fmt.Errorf("%+v", task)
			}
			found = append(found, task.ID)
		}
		return found, nil
	})
	told := func(id TaskID) map[string]any {
		return map[string]any{"id": id[:], "type": "f", "state": "waiting", "age": 1000, "group": "g",
			"labels": map[string]any{"customer": "acme"}, "parent": parent[:]}
	}
	// The second page is empty, which does not mean that there are no more.
	for i, page := range []map[string]any{
		{"tasks": []any{told(ids[0]), told(ids[1])}, "next": []byte("here")}, {"tasks": []any{}, "next": 7}, {"tasks": []any{told(ids[2])}},
	} {
		r := l.expect(wire.Query)
		if i > 0 {
			want["after"] = []any{[]byte("here"), int64(7)}[i-1]
		}
		if sent, err := decodeValue(r.Raw); string(r.Name) != "tasks" || err != nil || !reflect.DeepEqual(sent, want) {
			t.Fatal(describe(r), sent, err)
		}
		l.send([]any{wire.Answer, r.Ref, page})
	}
	if got := wait(t, found); got.err != nil || !slices.Equal(got.value, ids) {
		t.Fatal(got)
	}
	one := background(func() (id TaskID, err error) {
		for task, err := range c.Tasks(ctx, Filter{All: true}, 0) {
			return task.ID, err
		}
		return id, errors.New("none")
	})
	r := l.expect(wire.Query)
	if sent, err := decodeValue(r.Raw); err != nil || !reflect.DeepEqual(sent, map[string]any{"filter": map[string]any{"all": true}}) {
		t.Fatal(sent, err)
	}
	l.send([]any{wire.Answer, r.Ref, map[string]any{"tasks": []any{told(ids[1])}, "next": 1}})
	if got := wait(t, one); got.err != nil || got.value != ids[1] {
		t.Fatal(got)
	}
}

func TestAJobIsWaitedFor(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	filter := Filter{Labels: map[string]string{"customer": "acme"}}
	labels := map[string]any{"labels": map[string]any{"customer": "acme"}}
	var seen []int64
	onJob := OnJob(func(j Job) { seen = append(seen, j.Looked) })
	for _, asked := range []struct {
		job  func() (Job, error)
		what string
		sent map[string]any
	}{
		{func() (Job, error) { return c.CancelAll(ctx, filter, onJob) }, "cancel", map[string]any{"filter": labels}},
		{func() (Job, error) { return c.CancelAll(ctx, filter, DryRun()) }, "cancel", map[string]any{"filter": labels, "dry_run": true}},
		{func() (Job, error) { return c.RetryAll(ctx, filter) }, "retry", map[string]any{"filter": labels}},
		{func() (Job, error) { return c.ReprioritiseAll(ctx, filter, PriorityLow) }, "reprioritise", map[string]any{"filter": labels, "priority": int64(-10)}},
	} {
		done := background(asked.job)
		r := l.expect(wire.Control)
		value, err := decodeValue(r.Raw)
		sent, _ := value.(map[string]any)
		if id, ok := sent["id"].([]byte); (asked.what == "retry") != (ok && len(id) == 16) {
			t.Fatal(sent)
		}
		delete(sent, "id")
		if string(r.Name) != asked.what || err != nil || !reflect.DeepEqual(sent, asked.sent) {
			t.Fatal(describe(r), sent, err)
		}
		l.send([]any{wire.Answer, r.Ref, map[string]any{"done": true, "job": 7}})
		job := map[string]any{"job": 7, "what": asked.what, "state": "running", "dry_run": false, "total": 9, "looked": 4, "matched": 3, "changed": 2, "failed": 0, "age": 1}
		for _, state := range []string{"running", "running", "done"} {
			r := l.expect(wire.Query)
			if string(r.Name) != "jobs" {
				t.Fatal(describe(r))
			}
			job["state"] = state
			if state == "done" {
				job["looked"], job["failed"] = 9, 1
			}
			l.send([]any{wire.Answer, r.Ref, []any{map[string]any{"job": 6, "state": "done"}, job}})
		}
		want := Job{Number: 7, What: asked.what, State: "done", Total: 9, Looked: 9, Matched: 3, Changed: 2, Failed: 1}
		if got := wait(t, done); got.err != nil || got.value != want {
			t.Fatal(got)
		}
	}
	if !slices.Equal(seen, []int64{4, 4, 9}) {
		t.Error(seen)
	}
	begun := background(func() (Job, error) { return c.CancelAll(ctx, filter, NoWait()) })
	l.send([]any{wire.Answer, l.expect(wire.Control).Ref, map[string]any{"done": true, "job": 8}})
	if got := wait(t, begun); got.err != nil || got.value.Number != 8 {
		t.Fatal(got)
	}
	// A broker that was restarted meanwhile knows of no job.
	lost := background(func() (Job, error) { return c.CancelAll(ctx, filter) })
	l.send([]any{wire.Answer, l.expect(wire.Control).Ref, map[string]any{"done": true, "job": 9}})
	l.send([]any{wire.Answer, l.expect(wire.Query).Ref, []any{}})
	if err := wait(t, lost).err; !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "job 9") {
		t.Fatal(err)
	}
	full := background(func() (Job, error) { return c.CancelAll(ctx, filter) })
	l.send([]any{wire.Error, l.expect(wire.Control).Ref, "full", "16 jobs run"})
	if err := wait(t, full).err; !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	short, end := context.WithCancel(ctx)
	waiting := background(func() (Job, error) { return c.CancelAll(short, filter) })
	l.send([]any{wire.Answer, l.expect(wire.Control).Ref, map[string]any{"done": true, "job": 10}})
	l.expect(wire.Query)
	end()
	if got := wait(t, waiting); !errors.Is(got.err, ErrCancelled) || got.value.Number != 10 {
		t.Fatal(got)
	}
}

func TestAFilterThatIsOutOfRangeIsNotSent(t *testing.T) {
	c := newTestClient(t, newBroker(t), Options{})
	list := func(filter Filter, limit int) error {
		for _, err := range c.Tasks(ctx, filter, limit) {
			return err
		}
		return nil
	}
	_, unspecific := c.CancelAll(ctx, Filter{})
	_, priority := c.ReprioritiseAll(ctx, Filter{All: true}, 101)
	for says, err := range map[string]error{
		"the filter has no entry; Filter{All: true} means all tasks": list(Filter{}, 0),
		"the filter has no entry":                                    unspecific,
		"priority is 101, and has to be from -100 to 100":            priority,
		"limit is 1001, and has to be from 1 to 1000":                list(Filter{All: true}, 1001),
		"limit is -1": list(Filter{All: true}, -1),
		"filter.min_age is -1ns, and has to be from 0s to 100 years":   list(Filter{MinAge: -1}, 0),
		"filter.labels has \"\", and names and texts have to be UTF-8": list(Filter{Labels: map[string]string{"": "x"}}, 0),
	} {
		var e *Error
		if !errors.Is(err, ErrInvalid) || !errors.As(err, &e) || !strings.Contains(e.Message, says) || e.URL != "" {
			t.Errorf("%v, and not %q", err, says)
		}
	}
}
