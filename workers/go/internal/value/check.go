// Package value turns Go values into bodies and back, exactly as BODY.md says: what does not fit is
// an error, and nothing is rounded, truncated or replaced.
package value

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// MaxDepth is how deep lists and maps nest.
const MaxDepth = 64

const (
	firstSecond = -62135596800 // 0001-01-01T00:00:00Z
	lastSecond  = 253402300799 // 9999-12-31T23:59:59Z
)

var (
	errCut   = errors.New("the body is cut or is not msgpack")
	errUTF8  = errors.New("text that is not UTF-8")
	errDepth = fmt.Errorf("lists and maps nest more than %d deep", MaxDepth)
)

// Check says why bytes are not exactly one value, or nil. It allocates only for maps of more than
// eight keys.
func Check(body []byte) error {
	c := checker{Reader: wire.NewReader(body)}
	if err := c.value(0); err != nil {
		return err
	}
	if c.At() != len(body) {
		return fmt.Errorf("%d bytes behind the value", len(body)-c.At())
	}
	return nil
}

type checker struct{ wire.Reader }

func (c *checker) value(depth int) error {
	switch c.Peek() {
	case wire.Nil:
		c.Nil()
	case wire.Bool:
		c.Bool()
	case wire.Int:
		c.Integer()
	case wire.Float:
		c.Float()
	case wire.Bytes:
		c.Bytes()
	case wire.Text:
		if !utf8.Valid(c.RawText()) {
			return errUTF8
		}
	case wire.List:
		return c.list(depth + 1)
	case wire.Map:
		return c.pairs(depth + 1)
	case wire.Ext:
		kind, data := c.Ext()
		if !c.Failed() {
			_, err := timestamp(kind, data)
			return err
		}
	default:
		return errCut
	}
	if c.Failed() {
		return errCut
	}
	return nil
}

func (c *checker) list(depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	for n := c.List(); n > 0; n-- {
		if err := c.value(depth); err != nil {
			return err
		}
	}
	if c.Failed() {
		return errCut
	}
	return nil
}

// fewKeys is how many keys are compared with each other before a set is made.
const fewKeys = 8

func (c *checker) pairs(depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	var few [fewKeys][]byte
	var many map[string]struct{}
	n := c.Map()
	for i := range n {
		if next := c.Peek(); next != wire.Text && next != wire.None {
			return errors.New("a map's key is not text")
		}
		key := c.RawText()
		if c.Failed() {
			return errCut
		}
		if !utf8.Valid(key) {
			return errUTF8
		}
		twice := false
		if n <= fewKeys {
			for _, other := range few[:i] {
				twice = twice || string(other) == string(key)
			}
			few[i] = key
		} else {
			if many == nil {
				many = make(map[string]struct{}, min(n, 1024))
			}
			_, twice = many[string(key)]
			many[string(key)] = struct{}{}
		}
		if twice {
			return fmt.Errorf("the key %q is in a map twice", key)
		}
		if err := c.value(depth); err != nil {
			return err
		}
	}
	if c.Failed() {
		return errCut
	}
	return nil
}

// timestamp reads the three forms of msgpack's timestamp.
func timestamp(kind int8, data []byte) (time.Time, error) {
	if kind != -1 {
		return time.Time{}, fmt.Errorf("extension type %d", kind)
	}
	var seconds int64
	var nanoseconds uint32
	switch len(data) {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(data))
	case 8:
		both := binary.BigEndian.Uint64(data)
		seconds, nanoseconds = int64(both&(1<<34-1)), uint32(both>>34)
	case 12:
		nanoseconds = binary.BigEndian.Uint32(data)
		seconds = int64(binary.BigEndian.Uint64(data[4:]))
	default:
		return time.Time{}, fmt.Errorf("a timestamp of %d bytes", len(data))
	}
	if nanoseconds >= 1e9 || seconds < firstSecond || seconds > lastSecond {
		return time.Time{}, errors.New("a timestamp out of its range (years 1 to 9999)")
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC(), nil
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	seconds, nanoseconds := t.Unix(), uint64(t.Nanosecond())
	switch {
	case seconds < firstSecond || seconds > lastSecond:
		return b, fmt.Errorf("the time %v is not within the years 1 to 9999", t)
	case seconds>>34 != 0:
		b = append(b, 0xc7, 12, 0xff)
		b = binary.BigEndian.AppendUint32(b, uint32(nanoseconds))
		return binary.BigEndian.AppendUint64(b, uint64(seconds)), nil
	case nanoseconds != 0 || seconds>>32 != 0:
		b = append(b, 0xd7, 0xff)
		return binary.BigEndian.AppendUint64(b, nanoseconds<<34|uint64(seconds)), nil
	}
	return binary.BigEndian.AppendUint32(append(b, 0xd6, 0xff), uint32(seconds)), nil
}
