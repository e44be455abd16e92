// Command client is the Go client that conformance tests drive; ../../programs.py says how.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

type command struct {
	N        int
	Op       string
	Type     string
	Body     any
	Bodies   []any
	Timeout  int
	ID       string
	Resent   bool
	Size     int
	Noise    bool
	Types    []string
	Count    int
	Seconds  float64
	Clients  int
	InFlight int `json:"in_flight"`
	Topic    string
	Slow     string
	Buffer   *int
	Stage    string
	What     string

	Priority         any // a name, or a number
	Delay            *int
	NotBefore        *int `json:"not_before"`
	Deadline         *int
	RunTimeout       *int `json:"run_timeout"`
	HeartbeatTimeout *int `json:"heartbeat_timeout"`
	Attempts         *int
	Backoff          []float64
	NoRetryOn        []string `json:"no_retry_on"`
	Unique           *string
	UniquePolicy     *string `json:"unique_policy"`
	UniqueFor        *int    `json:"unique_for"`
	Retention        *int
	OrderKey         *string `json:"order_key"`
	LimitKey         *string `json:"limit_key"`
	Group            *string
	Cost             *int
	Labels           map[string]string
	Requires         map[string]any
	Prefers          map[string]any
	Consumes         map[string]int
	StickyKey        *string `json:"sticky_key"`

	Window, Take int // of a stream
	Filter       filter
	Limit        int
	DryRun       bool `json:"dry_run"`

	Arguments arguments // of a control

	IDs     []string
	hasBody bool // which may be null
}

type filter struct {
	Type, State string
	Labels      map[string]*string
	Parent      string
	Age         int
	All         bool
}

func (f filter) of() tusk.Filter {
	found := tusk.Filter{Type: f.Type, State: f.State, MinAge: ms(float64(f.Age)), All: f.All}
	if f.Parent != "" {
		found.Parent = must(tusk.ParseTaskID(f.Parent))
	}
	if f.Labels != nil {
		found.Labels = map[string]string{}
		for name, text := range f.Labels {
			if found.Labels[name] = tusk.AnyLabel; text != nil {
				found.Labels[name] = *text
			}
		}
	}
	return found
}

type arguments struct {
	Type, Key string
	MS        int
}

var (
	ctx           = context.Background()
	client        = must(tusk.NewClient(tusk.Options{}))
	tasks         sync.Map // id -> *tusk.Task
	subscriptions sync.Map // topic -> *tusk.Subscription
	stopped       atomic.Bool
	printing      sync.Mutex
)

func (c *command) options() ([]tusk.CallOption, error) {
	var found []tusk.CallOption
	if c.Timeout > 0 {
		found = append(found, tusk.WithTimeout(time.Duration(c.Timeout)*time.Millisecond))
	}
	if c.ID != "" {
		found = append(found, tusk.WithID(must(tusk.ParseTaskID(c.ID))))
	}
	if c.Resent {
		found = append(found, tusk.Resent())
	}
	for _, d := range []struct {
		given  *int
		option func(time.Duration) tusk.CallOption
	}{
		{c.Delay, tusk.WithDelay}, {c.Deadline, tusk.WithDeadline}, {c.RunTimeout, tusk.WithRunTimeout},
		{c.HeartbeatTimeout, tusk.WithHeartbeatTimeout}, {c.UniqueFor, tusk.WithUniqueFor}, {c.Retention, tusk.WithRetention},
	} {
		if d.given != nil {
			found = append(found, d.option(ms(float64(*d.given))))
		}
	}
	if c.NotBefore != nil {
		found = append(found, tusk.WithNotBefore(time.Now().Add(ms(float64(*c.NotBefore)))))
	}
	if c.Attempts != nil {
		found = append(found, tusk.WithAttempts(*c.Attempts))
	}
	if c.NoRetryOn != nil {
		found = append(found, tusk.WithNoRetryOn(c.NoRetryOn...))
	}
	if b := c.Backoff; b != nil {
		backoff := tusk.Backoff{First: ms(b[0]), Most: ms(b[1]), Factor: b[2], Jitter: b[3]}
		if b[3] == 0 {
			backoff.Jitter = tusk.NoJitter
		}
		found = append(found, tusk.WithBackoff(backoff))
	}
	for _, text := range []struct {
		given  *string
		option func(string) tusk.CallOption
	}{
		{c.Unique, tusk.WithUnique}, {c.OrderKey, tusk.WithOrderKey}, {c.LimitKey, tusk.WithLimitKey}, {c.Group, tusk.WithGroup},
		{c.StickyKey, tusk.WithStickyKey},
	} {
		if text.given != nil {
			found = append(found, text.option(*text.given))
		}
	}
	if c.Cost != nil {
		found = append(found, tusk.WithCost(*c.Cost))
	}
	if c.Labels != nil {
		found = append(found, tusk.WithLabels(c.Labels))
	}
	if c.Consumes != nil {
		found = append(found, tusk.WithConsumes(c.Consumes))
	}
	for _, needs := range []struct {
		given  map[string]any
		option func(map[string]any) tusk.CallOption
	}{{c.Requires, tusk.WithRequires}, {c.Prefers, tusk.WithPrefers}} {
		if needs.given != nil {
			found = append(found, needs.option(numbers(needs.given)))
		}
	}
	if c.UniquePolicy != nil {
		policy, err := tusk.ParseUniquePolicy(*c.UniquePolicy)
		if err != nil {
			return nil, err
		}
		found = append(found, tusk.WithUniquePolicy(policy))
	}
	return c.withPriority(found)
}

func (c *command) withPriority(options []tusk.CallOption) ([]tusk.CallOption, error) {
	switch given := c.Priority.(type) {
	case string:
		priority, err := tusk.ParsePriority(given)
		return append(options, tusk.WithPriority(priority)), err
	case json.Number:
		return append(options, tusk.WithPriority(tusk.Priority(must(given.Int64())))), nil
	}
	return options, nil
}

// numbers makes JSON's numbers those of Go; what is none stays.
func numbers(given map[string]any) map[string]any {
	found := map[string]any{}
	for name, v := range given {
		found[name] = v
		if number, ok := v.(json.Number); ok {
			if n, err := number.Int64(); err == nil {
				found[name] = n
			}
		}
	}
	return found
}

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// follow calls, and collects what it is told meanwhile.
func follow(c *command, options []tusk.CallOption) (any, error) {
	progress, logs := []any{}, [][2]string{}
	options = append(options,
		tusk.OnProgress(func(p tusk.Progress) { progress = append(progress, toTagged(must(p.Value()))) }),
		tusk.OnLog(func(l tusk.LogLine) { logs = append(logs, [2]string{l.Level.String(), l.Text}) }))
	found, err := tusk.Call[any](ctx, client, c.Type, fromTagged(c.Body), options...)
	return map[string]any{"result": toTagged(found), "progress": progress, "logs": logs}, err
}

// stream reads all chunks, or as many as c.Take, and notes what happened between them.
func stream(c *command, options []tusk.CallOption) (any, error) {
	if c.Window > 0 {
		options = append(options, tusk.WithWindow(c.Window))
	}
	s, err := tusk.Stream[any](ctx, client, c.Type, fromTagged(c.Body), options...)
	if err != nil {
		return nil, err
	}
	chunks, attempts, taken := []any{}, []int{}, 0
	for chunk, err := range s.All(ctx) {
		var restarted *tusk.StreamRestarted
		switch {
		case errors.As(err, &restarted):
			chunks = append(chunks, map[string]any{"restarted": restarted.Attempt})
			attempts = append(attempts, restarted.Attempt)
			continue
		case err != nil:
			return nil, err
		}
		chunks = append(chunks, toTagged(chunk))
		if taken++; taken == c.Take {
			return map[string]any{"chunks": chunks}, nil
		}
	}
	var result any
	err = s.Result(&result)
	return map[string]any{"chunks": chunks, "result": toTagged(result), "attempts": attempts}, err
}

func listTasks(c *command) (any, error) {
	found := []any{}
	for task, err := range client.Tasks(ctx, c.Filter.of(), c.Limit) {
		if err != nil {
			return nil, err
		}
		labels := task.Labels
		if labels == nil {
			labels = map[string]string{}
		}
		found = append(found, map[string]any{"id": hexOf(task.ID), "type": task.Type, "state": task.State, "labels": labels})
	}
	return found, nil
}

func job(c *command) (any, error) {
	var options []tusk.JobOption
	if c.DryRun {
		options = append(options, tusk.DryRun())
	}
	var done tusk.Job
	var err error
	switch c.What {
	case "cancel":
		done, err = client.CancelAll(ctx, c.Filter.of(), options...)
	case "retry":
		done, err = client.RetryAll(ctx, c.Filter.of(), options...)
	case "reprioritise":
		done, err = client.ReprioritiseAll(ctx, c.Filter.of(), c.priority(), options...)
	default:
		err = fmt.Errorf("no job %q", c.What)
	}
	return map[string]any{"matched": done.Matched, "changed": done.Changed, "failed": done.Failed}, err
}

func (c *command) priority() tusk.Priority {
	if name, ok := c.Priority.(string); ok {
		return must(tusk.ParsePriority(name))
	}
	return tusk.Priority(must(c.Priority.(json.Number).Int64()))
}

// awaitTask, awaitAll and update have the id as what they are about.
func awaitTask(c *command) (any, error) {
	id := c.takeID()
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	found, err := tusk.AwaitTask[any](ctx, client, id, options...)
	return toTagged(found), err
}

func awaitAll(c *command) (any, error) {
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	ids := make([]tusk.TaskID, len(c.IDs))
	for i, id := range c.IDs {
		ids[i] = must(tusk.ParseTaskID(id))
	}
	found := []any{}
	for _, o := range tusk.AwaitAll[any](ctx, client, ids, options...) {
		found = append(found, answer(toTagged(o.Value), o.Err))
	}
	return found, nil
}

func update(c *command) (any, error) {
	id := c.takeID()
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	if c.hasBody {
		options = append(options, tusk.WithBody(fromTagged(c.Body)))
	}
	state, updated, err := client.Update(ctx, id, options...)
	return map[string]any{"state": state, "updated": updated}, err
}

func control(c *command) (bool, error) {
	switch a := c.Arguments; c.What {
	case "pause":
		return client.PauseType(ctx, a.Type, ms(float64(a.MS)))
	case "unblock":
		return client.Unblock(ctx, a.Type, a.Key)
	}
	return false, fmt.Errorf("no control %q", c.What)
}

func (c *command) takeID() tusk.TaskID {
	id := must(tusk.ParseTaskID(c.ID))
	c.ID = ""
	return id
}

func status(c *command) (any, error) {
	found, err := client.Task(ctx, c.takeID())
	if err != nil {
		return nil, err
	}
	told := map[string]any{"state": found.State}
	if found.Type == "" {
		return told, nil
	}
	told["type"], told["attempts"], told["failures"] = found.Type, found.Attempts, found.Failures
	told["crashes"], told["priority"], told["age"] = found.Crashes, int(found.Priority), found.Age.Milliseconds()
	if found.Worker != "" {
		told["worker"] = found.Worker
	}
	if found.History != nil {
		told["history"] = history(found.History)
	}
	if e := found.Error; e != nil {
		told["error"] = map[string]any{"type": e.Type, "message": e.Message, "language": e.Language, "stack": e.Stack}
	}
	return told, nil
}

func hexOf(id tusk.TaskID) string { return hex.EncodeToString(id[:]) }

func run(c *command) (any, error) {
	switch c.Op {
	case "await":
		return awaitTask(c)
	case "await_all":
		return awaitAll(c)
	case "update":
		return update(c)
	case "task":
		return status(c)
	case "control":
		return control(c)
	case "tasks":
		return listTasks(c)
	case "job":
		return job(c)
	}
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	switch c.Op {
	case "call":
		found, err := tusk.Call[any](ctx, client, c.Type, fromTagged(c.Body), options...)
		return toTagged(found), err
	case "submit":
		task, err := client.Submit(ctx, c.Type, fromTagged(c.Body), options...)
		if err != nil {
			return nil, err
		}
		tasks.Store(hexOf(task.ID()), task)
		return hexOf(task.ID()), nil
	case "result":
		task, _ := tasks.Load(c.ID)
		found, err := tusk.Result[any](ctx, task.(*tusk.Task))
		return toTagged(found), err
	case "post":
		id, err := client.Enqueue(ctx, c.Type, fromTagged(c.Body), options...)
		return hexOf(id), err
	case "follow":
		return follow(c, options)
	case "stream":
		return stream(c, options)
	case "cancel":
		return client.Cancel(ctx, must(tusk.ParseTaskID(c.ID)))
	case "many":
		return many(c), nil
	case "roundtrip":
		return roundtrip(c)
	case "load":
		return load(c), nil
	case "stop":
		stopped.Store(true)
		return nil, nil
	case "publish":
		return nil, client.Publish(ctx, c.Topic, fromTagged(c.Body))
	case "subscribe":
		return nil, subscribe(c)
	case "clear":
		return nil, client.Clear(ctx, c.Topic)
	case "events":
		return events(c)
	case "push":
		_, err := client.Push(ctx, c.Stage, fromTagged(c.Body))
		return nil, err
	case "push_many":
		return tusk.PushMany(ctx, client, c.Stage, values(c.Bodies))
	case "query":
		found, err := client.Query(ctx, c.What, nil)
		return toTagged(found), err
	}
	return nil, fmt.Errorf("no operation %q", c.Op)
}

func values(tagged []any) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, t := range tagged {
			if !yield(fromTagged(t)) {
				return
			}
		}
	}
}

func many(c *command) []any {
	var found []any
	for value, err := range tusk.CallMany[any](ctx, client, c.Type, values(c.Bodies)) {
		found = append(found, answer(toTagged(value), err))
	}
	return found
}

func roundtrip(c *command) (bool, error) {
	sent := bytes.Repeat([]byte("tusk"), c.Size/4)
	if c.Noise {
		sent = make([]byte, c.Size)
		rand.Read(sent)
	}
	back, err := tusk.Call[[]byte](ctx, client, c.Type, sent, tusk.WithTimeout(time.Minute))
	return bytes.Equal(sent, back), err
}

type task struct {
	N    int
	From string
}

type summary struct {
	mu      sync.Mutex
	Sent    int            `json:"sent"`
	OK      int            `json:"ok"`
	Wrong   int            `json:"wrong"`
	Doubled int            `json:"doubled"`
	Errors  map[string]int `json:"errors"`
	First   map[string]any `json:"first"`
}

func load(c *command) *summary {
	s := &summary{Errors: map[string]int{}}
	clients := []*tusk.Client{client}
	if c.Clients > 0 {
		clients = nil
		for range c.Clients {
			own := must(tusk.NewClient(tusk.Options{}))
			defer own.Close()
			clients = append(clients, own)
		}
	}
	end := time.Now().Add(time.Duration(c.Seconds * float64(time.Second)))
	var all sync.WaitGroup
	for _, who := range clients {
		for _, taskType := range c.Types {
			var sent atomic.Int64
			next := func() (int, bool) {
				n := int(sent.Add(1))
				over := c.Count > 0 && n > c.Count || c.Seconds > 0 && time.Now().After(end)
				return n, !over && !stopped.Load()
			}
			for range c.InFlight {
				all.Add(1)
				go func() {
					defer all.Done()
					for n, more := next(); more; n, more = next() {
						s.call(who, taskType, n)
					}
				}()
			}
		}
	}
	all.Wait()
	return s
}

func (s *summary) call(who *tusk.Client, taskType string, n int) {
	found, err := tusk.Call[task](ctx, who, taskType, task{n, taskType}, tusk.WithTimeout(2*time.Minute))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Sent++
	switch {
	case err != nil:
		told := describe(err)
		s.Errors[told["code"].(string)]++
		if s.First == nil {
			s.First = told
		}
	case found != task{n, taskType}:
		s.Wrong++
	default:
		s.OK++
	}
}

func subscribe(c *command) error {
	var options []tusk.SubscribeOption
	if c.Buffer != nil {
		options = append(options, tusk.WithBuffer(*c.Buffer))
	}
	if c.Slow == "disconnect" {
		options = append(options, tusk.WithSlow(tusk.SlowDisconnect))
	}
	subscription, err := client.Subscribe(ctx, c.Topic, options...)
	if err == nil {
		subscriptions.Store(c.Topic, subscription)
	}
	return err
}

func events(c *command) ([]any, error) {
	subscription, _ := subscriptions.Load(c.Topic)
	var found []any
	for len(found) < c.Count {
		event, err := subscription.(*tusk.Subscription).Next(ctx)
		if err != nil {
			return nil, err
		}
		body, err := event.Value()
		if err != nil {
			return nil, err
		}
		found = append(found, map[string]any{"topic": event.Topic, "body": toTagged(body), "sequence": event.Sequence,
			"missed": event.Missed, "retained": event.Retained})
	}
	return found, nil
}

// classes are what a program compares errors with.
var classes = []struct {
	name   string
	target error
}{
	{"TaskDead", tusk.ErrDead}, {"TaskFailed", tusk.ErrFailed}, {"TaskCancelled", tusk.ErrCancelled},
	{"TaskExpired", tusk.ErrExpired}, {"Unavailable", tusk.ErrUnavailable}, {"Timeout", tusk.ErrTimeout},
	{"Unserved", tusk.ErrUnserved}, {"Busy", tusk.ErrBusy}, {"Full", tusk.ErrFull},
	{"TooLarge", tusk.ErrTooLarge}, {"Duplicate", tusk.ErrDuplicate}, {"IdConflict", tusk.ErrIDConflict},
	{"AlreadyEnded", tusk.ErrAlreadyEnded}, {"UnknownOutcome", tusk.ErrUnknownOutcome},
	{"UnknownTask", tusk.ErrUnknownTask}, {"UnknownTopic", tusk.ErrUnknownTopic},
	{"UnknownStage", tusk.ErrUnknownStage}, {"Invalid", tusk.ErrInvalid}, {"BodyError", tusk.ErrBody}, {"Closed", tusk.ErrClosed},
	{"SlowSubscriber", tusk.ErrSlowSubscriber},
}

func describe(err error) map[string]any {
	found := map[string]any{"class": fmt.Sprintf("%T", err), "code": "program", "text": err.Error()}
	for _, class := range classes {
		if errors.Is(err, class.target) {
			found["class"] = class.name
			break
		}
	}
	var ended *tusk.TaskError
	var other *tusk.Error
	switch {
	case errors.As(err, &ended):
		found["code"] = ended.State
		found["type"], found["message"], found["language"] = ended.Type, ended.Message, ended.Language
		found["stack"], found["attempt"], found["worker"] = ended.Stack, ended.Attempt, ended.Worker
		found["retry"] = ended.Retry
		found["history"] = history(ended.History)
	case errors.As(err, &other):
		found["code"], found["url"] = other.Code, other.URL
		found["limit"], found["value"] = other.Details["limit"], other.Details["value"]
		if errors.Is(err, tusk.ErrInvalid) && other.URL == "" {
			found["code"] = "program" // the SDK refused it; a code is what the broker says
		}
	}
	var broken *tusk.StreamBroken
	if errors.As(err, &broken) {
		found["class"], found["value"] = "StreamBroken", broken.Missing
	}
	var duplicate *tusk.DuplicateError
	if errors.As(err, &duplicate) {
		found["id"], found["state"] = hexOf(duplicate.ID), duplicate.State
	}
	return found
}

func history(runs []tusk.Attempt) []any {
	found := []any{}
	for _, run := range runs {
		found = append(found, map[string]any{"attempt": run.Attempt, "worker": run.Worker,
			"started": run.Started.Milliseconds(), "ended": run.Ended.Milliseconds(), "type": run.Type, "message": run.Message})
	}
	return found
}

func answer(value any, err error) map[string]any {
	if err != nil {
		return map[string]any{"error": describe(err)}
	}
	return map[string]any{"ok": value}
}

func carryOut(c *command) {
	told := answer(run(c))
	told["n"] = c.N
	line := must(json.Marshal(told))
	printing.Lock()
	defer printing.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func main() {
	defer client.Close()
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		reader := json.NewDecoder(bytes.NewReader(line))
		reader.UseNumber()
		c := &command{}
		if err := reader.Decode(c); err != nil {
			panic(err)
		}
		var given map[string]json.RawMessage
		if err := json.Unmarshal(line, &given); err != nil {
			panic(err)
		}
		_, c.hasBody = given["body"]
		if c.Op == "close" {
			return
		}
		go carryOut(c)
	}
}
