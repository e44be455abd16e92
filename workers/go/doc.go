// Package tusk hands work to programs in any language through tuskd, and does such work.
//
//	client, err := tusk.NewClient(tusk.Options{}) // TUSK_URL, else tcp://127.0.0.1:7420
//	defer client.Close()
//	sum, err := tusk.Call[int](ctx, client, "add", map[string]any{"a": 1, "b": 2})
//
//	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 16})
//	tusk.Handle(worker, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
//		return in.A + in.B, nil
//	})
//	err := worker.Run(ctx) // until SIGTERM, SIGINT or the end of ctx
//
// # Values
//
// What a caller hands over and what a handler returns is a value of BODY.md. Structs are maps: a
// field's key is the name in its tag `msgpack`, else in its tag `json`, else its Go name with the
// first word in lower case (A: a, UserID: userID, ID: id). A value that does not fit the Go type that
// it is read into is an error: 300 into an int8, 1.5 or 1.0 into an int, null into an int, text into
// a number, bytes into a string. An integer fits a float that holds it exactly. Null fits pointers,
// slices, maps and any. As with encoding/json, keys that a struct does not have are skipped and
// fields whose keys are missing stay as they are. Types with the methods of
// encoding.TextMarshaler or of vmihailenco/msgpack write and read themselves; msgpack.RawMessage is
// a value as it is on the wire.
//
// # Threads
//
// Each Client and each running Worker has one goroutine that owns its socket, and libzmq's two
// threads. Handlers run in goroutines of their own.
package tusk
