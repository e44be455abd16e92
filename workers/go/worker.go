package tusk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// WorkerOptions say how a worker serves. The zero value is good. What is not set comes from the
// environment, which the supervisor of tuskd sets.
type WorkerOptions struct {
	// URL of the broker, tcp:// or ipc://. Default: TUSK_URL, else DefaultURL.
	URL string
	// Slots is how many runs there are at once, at least 1. Default: TUSK_SLOTS, else 1.
	Slots int
	// Pool that this worker belongs to. Default: TUSK_POOL, else the broker's: the language.
	Pool string
	// Name for people. Default: TUSK_WORKER, else go-<pid>.
	Name string
	// Labels are what this worker has, for tasks that require or consume it: texts of 1 to 255 bytes are
	// facts ("region": "eu"), whole numbers from 0 to 10^9 amounts ("gpu": 2); at most 32, with names of 1 to
	// 255 bytes. They are added to those of the environment's TUSK_LABELS, a JSON object, and win.
	Labels map[string]any
	// StopWithin is how long running handlers may take when the worker stops; then their contexts are
	// cancelled and the broker gives their tasks to others. Default: 10 s.
	StopWithin time.Duration
}

// Worker runs tasks. Register its handlers with Handle, HandleBatch, HandleStage and HandleStageBatch, then
// Run it.
type Worker struct {
	options       WorkerOptions
	types, stages map[string]*handler
	supervised    bool
	started       atomic.Bool
	session       *session
	executor      *executor
	force         context.CancelFunc // ends batchContext
	values        context.Context
	there         chan struct{} // closed when a broker has taken this worker
	isThere       bool          // the session's goroutine only

	mu          sync.Mutex
	results     []result        // from handlers, and not yet seen by the session's goroutine
	notices     fifoOf[*notice] // what runs said, and was not written
	noticeBytes int64           // their cost
	client      *Client         // submits children; nil: there were none
	over        bool            // Run has ended
	asked       string          // why the worker is to stop; empty: it is not
	hurry       bool            // it is to stop at once

	noticed atomic.Bool // there are notices

	// The session's goroutine owns the rest.
	fresh      []result
	ready      fifoOf[result] // not yet sent
	runs       map[int64]*run // without a result that was sent
	slab       []run
	units      []unit
	batches    map[*handler]*collected
	returns    fifoOf[returned]
	stopping   bool
	stopBy     time.Time
	finishFrom time.Time // when the last handler had ended, or stopBy had come; zero: not yet
	err        error
}

// returned answers a recall.
type returned struct {
	recall  int64
	handles []int64
}

// collected are the items that wait for their batch to be full.
type collected struct {
	runs []*run
	due  time.Time
}

// NewWorker makes a worker that does nothing yet.
func NewWorker(options WorkerOptions) *Worker {
	options.URL = firstOf(options.URL, os.Getenv("TUSK_URL"), DefaultURL)
	options.Pool = firstOf(options.Pool, os.Getenv("TUSK_POOL"))
	options.Name = firstOf(options.Name, os.Getenv("TUSK_WORKER"))
	if options.Slots == 0 {
		options.Slots, _ = strconv.Atoi(os.Getenv("TUSK_SLOTS"))
	}
	options.Slots = max(1, options.Slots)
	if options.StopWithin <= 0 {
		options.StopWithin = 10 * time.Second
	}
	return &Worker{options: options, types: map[string]*handler{}, stages: map[string]*handler{},
		supervised: os.Getenv("TUSK_SUPERVISED") == "1", runs: map[int64]*run{},
		batches: map[*handler]*collected{}, there: make(chan struct{})}
}

// register panics on what is a mistake in the program: a name twice or out of its bounds, a batch that
// never fills, a worker that runs already.
func (w *Worker) register(handlers map[string]*handler, h *handler) {
	if err := checkName(h.name); err != nil {
		panic(err)
	}
	switch {
	case w.started.Load():
		panic("tusk: handlers are registered before Run")
	case handlers[h.name] != nil:
		panic(fmt.Sprintf("tusk: the name %q has a handler already", h.name))
	case h.runs != nil && h.batch.Size < 1:
		panic(fmt.Sprintf("tusk: the batch of %q has size %d, and has to have at least 1", h.name, h.batch.Size))
	case h.runs != nil && h.batch.Wait < 0:
		panic(fmt.Sprintf("tusk: the batch of %q waits for %v, and has to wait for 0 or more", h.name, h.batch.Wait))
	case h.runs != nil && h.batch.Size > w.options.Slots:
		panic(fmt.Sprintf("tusk: the batch of %q has size %d, more than the worker's %d slots, so that it would never be full; set WorkerOptions.Slots, or TUSK_SLOTS", h.name, h.batch.Size, w.options.Slots))
	}
	h.worker = w
	h.took.Store(int64(time.Millisecond)) // not quick until it has shown so
	handlers[h.name] = h
}

// Run serves until ctx is done, SIGTERM or SIGINT comes, the broker drains this worker, or, under
// tuskd's supervisor, the broker has been away for longer than it said. Then tasks that have not
// started are given back, running ones end within StopWithin, their results are handed over, and Run
// returns nil. A second signal ends the waiting. The error is about the URL, the labels, a worker without
// handlers, or a broker that does not allow this worker.
//
// Handlers' contexts have the values of ctx, and are cancelled one by one, not by the end of ctx.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return newError(ErrInvalid, TaskID{}, "this worker was run before")
	}
	if len(w.types)+len(w.stages) == 0 {
		return newError(ErrInvalid, TaskID{}, "a worker without handlers")
	}
	labels, err := workerLabels(w.options.Labels)
	if err != nil {
		return err
	}
	w.options.Labels = labels
	w.values = context.WithoutCancel(ctx)
	batchContext, force := context.WithCancel(w.values)
	defer force()
	w.force = force
	session, err := newSession(w.options.URL, w, false)
	if err != nil {
		return &Error{Code: string(ErrInvalid), Message: err.Error(), URL: w.options.URL}
	}
	w.mu.Lock()
	w.session = session
	w.mu.Unlock()
	w.executor = newExecutor(w.options.Slots, w.session.terms, w.report, batchContext)
	defer w.executor.stop()
	defer w.closeChildClient()

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.session.run()
	}()
	ended := ctx.Done()
	for {
		select {
		case <-ended:
			ended = nil
			w.ask("its context ended")
		case s := <-signals:
			w.ask(s.String())
		case <-stopped:
			return w.err
		}
	}
}

// Ready is closed when a broker has taken this worker for the first time: from then on what it serves is
// served. For programs that run worker and client, and for tests.
func (w *Worker) Ready() <-chan struct{} { return w.there }

// Stop makes Run return as SIGTERM would, also a Run that is called later. Any goroutine may call it.
func (w *Worker) Stop() {
	w.ask("Stop was called")
}

// ask wants the worker to stop; the second time, at once.
func (w *Worker) ask(why string) {
	w.mu.Lock()
	w.hurry = w.asked != ""
	w.asked = why
	session := w.session
	w.mu.Unlock()
	if session != nil {
		session.wake()
	}
}

// report takes results from the handlers' goroutines.
func (w *Worker) report(results []result) {
	w.mu.Lock()
	w.results = append(w.results, results...)
	w.mu.Unlock()
	w.session.wake()
}

func (w *Worker) greet(h *hello) {
	h.Role = "worker"
	h.Name = firstOf(w.options.Name, h.Name)
	h.Pool = w.options.Pool
	h.Slots = w.options.Slots
	h.Types = names(w.types)
	h.Handlers = names(w.stages)
	h.Labels = w.options.Labels
	h.Claims = w.claims()
	// Handlers that may keep every processor busy keep the session's goroutine waiting too.
	if w.options.Slots < runtime.GOMAXPROCS(0) {
		h.Capabilities = []string{"lookahead"}
	}
}

func names(handlers map[string]*handler) []string {
	var all []string
	for name := range handlers {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (w *Worker) hopeless(err *Error) {
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrVersion), errors.Is(err, ErrUnsupported),
		errors.Is(err, ErrInvalid), errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLarge):
		w.err = err
		w.session.finish(false, 0)
	}
}
