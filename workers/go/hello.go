package tusk

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Version is this SDK's.
const Version = "1.0.0"

const protocolVersion = 1

// hello is what a peer says of itself. Keys that do not apply are left out.
type hello struct {
	Role         string         `msgpack:"role"`
	Instance     [16]byte       `msgpack:"instance"`
	Language     string         `msgpack:"language"`
	Acks         bool           `msgpack:"acks"`
	Session      int64          `msgpack:"session,omitempty"`
	Ack          *int64         `msgpack:"ack,omitempty"`
	Name         string         `msgpack:"name,omitempty"`
	Pool         string         `msgpack:"pool,omitempty"`
	PID          int            `msgpack:"pid"`
	PIDNamespace uint64         `msgpack:"pid_ns,omitempty"`
	BootID       string         `msgpack:"boot_id,omitempty"`
	SDK          string         `msgpack:"sdk"`
	Types        []string       `msgpack:"types,omitempty"`
	Handlers     []string       `msgpack:"handlers,omitempty"`
	Slots        int            `msgpack:"slots,omitempty"`
	Labels       map[string]any `msgpack:"labels,omitempty"`
	Claims       []claim        `msgpack:"claims,omitempty"`
	Capabilities []string       `msgpack:"capabilities,omitempty"`
}

// claim is a run that a worker still holds, or whose result has not been acknowledged.
type claim struct {
	id      TaskID
	attempt int64
	name    string
	isItem  bool
}

func (h *hello) append(b []byte) ([]byte, error) {
	b = wire.AppendList(b, 3)
	b = wire.AppendUint(b, uint64(wire.Hello))
	b = wire.AppendUint(b, protocolVersion)
	return value.Append(b, h)
}

// MarshalMsgpack writes a claim as the list that the protocol wants.
func (c claim) MarshalMsgpack() ([]byte, error) {
	b := wire.AppendList(nil, 4)
	b = wire.AppendBytes(b, c.id[:])
	b = wire.AppendUint(b, uint64(c.attempt))
	b = wire.AppendText(b, c.name)
	return wire.AppendBool(b, c.isItem), nil
}

// newHello tells of this process; the broker needs pid, namespace and boot id to notice its death at
// once. What the system does not tell is left out.
func newHello(role string, instance [16]byte) hello {
	h := hello{Role: role, Instance: instance, Language: "go", Acks: true, PID: os.Getpid(),
		SDK: "tuskd-go " + Version, Name: fmt.Sprintf("go-%d", os.Getpid())}
	if info, err := os.Stat("/proc/self/ns/pid"); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			h.PIDNamespace = stat.Ino
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(text))
	}
	return h
}

// welcome is the broker's answer. What an old broker does not say has its default.
type welcome struct {
	Session              int64  `msgpack:"session"`
	Epoch                int64  `msgpack:"epoch"`
	Resumed              bool   `msgpack:"resumed"`
	Ack                  int64  `msgpack:"ack"`
	Limits               limits `msgpack:"limits"`
	Timeout              int64  `msgpack:"timeout"` // ms
	Compression          string `msgpack:"compression"`
	CompressionThreshold int64  `msgpack:"compression_threshold"`
	AdoptGrace           int64  `msgpack:"adopt_grace"` // ms
	Messages             struct {
		Types  map[string]writing `msgpack:"types"`
		Stages map[string]writing `msgpack:"stages"`
		Topics map[string]writing `msgpack:"topics"`
	} `msgpack:"messages"`
	Claims [][]any `msgpack:"claims"`
}

type limits struct {
	Frame        int64 `msgpack:"frame"`
	Body         int64 `msgpack:"body"`
	Records      int64 `msgpack:"records"`
	Frames       int64 `msgpack:"frames"`
	SessionBytes int64 `msgpack:"session_bytes"`
	PushWindow   int64 `msgpack:"push_window"`
	Checkpoint   int64 `msgpack:"checkpoint"`
}

// beforeWelcome is what holds until the broker has said otherwise.
func beforeWelcome() *welcome {
	return &welcome{
		Limits: limits{Frame: 1 << 20, Body: 64 << 20, Records: 1024, Frames: 256,
			SessionBytes: 256 << 20, PushWindow: 1024, Checkpoint: 256 << 10},
		Timeout: 5000, Compression: "none", AdoptGrace: 10_000,
	}
}

func readWelcome(r *wire.Record) (*welcome, error) {
	w := beforeWelcome()
	if err := value.Decode(r.Raw, w); err != nil {
		return nil, fmt.Errorf("welcome: %w", err)
	}
	l := &w.Limits
	if r.Ref != protocolVersion || w.Session < 1 || l.Frame < 1024 || l.Body < 1 || l.Records < 1 ||
		l.Frames < 1 || l.SessionBytes < 1 || l.PushWindow < 1 || l.Checkpoint < 0 || w.Timeout < 1 {
		return nil, fmt.Errorf("welcome of version %d with values out of their range", r.Ref)
	}
	return w, nil
}
