// Package wire reads and writes the records of TUSK/1: msgpack arrays, one behind the other. It
// allocates nothing for each record and uses no reflection.
package wire

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// MaxInteger is the largest integer on the wire, 2^53 - 1: JavaScript holds it exactly.
const MaxInteger = 1<<53 - 1

// MaxDepth is how deep records nest; the record itself is level 1.
const MaxDepth = 8

// Type is what kind of msgpack value comes next.
type Type uint8

// The types of msgpack.
const (
	None Type = iota // nothing more, or the byte 0xc1, which msgpack never uses
	Nil
	Bool
	Int
	Float
	Text
	Bytes
	List
	Map
	Ext
)

// Reader reads msgpack values from a buffer, one behind the other. After the first value that is cut
// or of another type than asked for, Failed is true and every further read returns zero.
type Reader struct {
	b      []byte
	at     int
	failed bool
}

// NewReader reads from b, which must not change meanwhile: what is returned points into it.
func NewReader(b []byte) Reader {
	return Reader{b: b}
}

// Failed says whether any read so far has failed.
func (r *Reader) Failed() bool { return r.failed }

// Fail makes the reader fail.
func (r *Reader) Fail() { r.failed = true }

// More says whether bytes are left.
func (r *Reader) More() bool { return !r.failed && r.at < len(r.b) }

// At is the position in the buffer.
func (r *Reader) At() int { return r.at }

// Since returns the bytes from a position to here.
func (r *Reader) Since(at int) []byte { return r.b[at:r.at:r.at] }

// Peek says what comes next without reading it.
func (r *Reader) Peek() Type {
	if r.failed || r.at >= len(r.b) {
		return None
	}
	return types[r.b[r.at]]
}

var types = func() (t [256]Type) {
	fill := func(from, to int, kind Type) {
		for i := from; i <= to; i++ {
			t[i] = kind
		}
	}
	fill(0x00, 0x7f, Int)
	fill(0x80, 0x8f, Map)
	fill(0x90, 0x9f, List)
	fill(0xa0, 0xbf, Text)
	fill(0xc0, 0xc0, Nil)
	fill(0xc2, 0xc3, Bool)
	fill(0xc4, 0xc6, Bytes)
	fill(0xc7, 0xc9, Ext)
	fill(0xca, 0xcb, Float)
	fill(0xcc, 0xd3, Int)
	fill(0xd4, 0xd8, Ext)
	fill(0xd9, 0xdb, Text)
	fill(0xdc, 0xdd, List)
	fill(0xde, 0xdf, Map)
	fill(0xe0, 0xff, Int)
	return t
}()

// take returns the next n bytes, or nil and fails.
func (r *Reader) take(n int) []byte {
	if r.failed || n > len(r.b)-r.at {
		r.failed = true
		return nil
	}
	part := r.b[r.at : r.at+n : r.at+n]
	r.at += n
	return part
}

func (r *Reader) lead() byte {
	if r.failed || r.at >= len(r.b) {
		r.failed = true
		return 0xc1
	}
	b := r.b[r.at]
	r.at++
	return b
}

// big reads a big-endian integer of 1, 2, 4 or 8 bytes.
func (r *Reader) big(width int) uint64 {
	part := r.take(width)
	if part == nil {
		return 0
	}
	switch width {
	case 1:
		return uint64(part[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(part))
	case 4:
		return uint64(binary.BigEndian.Uint32(part))
	default:
		return binary.BigEndian.Uint64(part)
	}
}

// Integer reads an integer: its 64 bits, and whether it is negative (then the bits are an int64).
func (r *Reader) Integer() (bits uint64, negative bool) {
	b := r.lead()
	switch {
	case b < 0x80:
		return uint64(b), false
	case b >= 0xe0:
		return uint64(int64(int8(b))), true
	case b >= 0xcc && b <= 0xcf:
		return r.big(1 << (b - 0xcc)), false
	case b >= 0xd0 && b <= 0xd3:
		width := 1 << (b - 0xd0)
		shift := 64 - 8*width
		n := int64(r.big(width)<<shift) >> shift
		return uint64(n), n < 0
	}
	r.failed = true
	return 0, false
}

// Number reads an integer from 0 to 2^53 - 1, as all are on the wire but for tokens.
func (r *Reader) Number() int64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 && !r.failed {
		r.at++
		return int64(r.b[r.at-1])
	}
	bits, negative := r.Integer()
	if negative || bits > MaxInteger {
		r.failed = true
		return 0
	}
	return int64(bits)
}

// Signed reads an integer between -(2^53 - 1) and 2^53 - 1.
func (r *Reader) Signed() int64 {
	bits, negative := r.Integer()
	n := int64(bits)
	if n > MaxInteger || n < -MaxInteger || !negative && n < 0 {
		r.failed = true
		return 0
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	b := r.lead()
	if b != 0xc2 && b != 0xc3 {
		r.failed = true
	}
	return b == 0xc3
}

// Nil reads nil.
func (r *Reader) Nil() {
	if r.lead() != 0xc0 {
		r.failed = true
	}
}

// Float reads a float64 or a float32.
func (r *Reader) Float() float64 {
	switch r.lead() {
	case 0xca:
		return float64(math.Float32frombits(uint32(r.big(4))))
	case 0xcb:
		return math.Float64frombits(r.big(8))
	}
	r.failed = true
	return 0
}

// RawText reads a text without looking whether it is UTF-8.
func (r *Reader) RawText() []byte {
	b := r.lead()
	switch {
	case b >= 0xa0 && b <= 0xbf:
		return r.take(int(b & 0x1f))
	case b >= 0xd9 && b <= 0xdb:
		return r.take(int(r.big(1 << (b - 0xd9))))
	}
	r.failed = true
	return nil
}

// Text reads a text of UTF-8. The bytes are those of the buffer.
func (r *Reader) Text() []byte {
	text := r.RawText()
	if !utf8.Valid(text) {
		r.failed = true
		return nil
	}
	return text
}

// Bytes reads a bin. The bytes are those of the buffer, never nil unless it failed.
func (r *Reader) Bytes() []byte {
	b := r.lead()
	if b < 0xc4 || b > 0xc6 {
		r.failed = true
		return nil
	}
	return r.take(int(r.big(1 << (b - 0xc4))))
}

// List reads the head of an array: how many elements follow. The number is never larger than the
// bytes that are left, so that memory may be made for it.
func (r *Reader) List() int {
	b := r.lead()
	switch {
	case b >= 0x90 && b <= 0x9f:
		return r.bounded(int(b&0x0f), 1)
	case b == 0xdc || b == 0xdd:
		return r.bounded(int(r.big(2<<(b-0xdc))), 1)
	}
	r.failed = true
	return 0
}

// Map reads the head of a map: how many pairs follow, bounded as for List.
func (r *Reader) Map() int {
	b := r.lead()
	switch {
	case b >= 0x80 && b <= 0x8f:
		return r.bounded(int(b&0x0f), 2)
	case b == 0xde || b == 0xdf:
		return r.bounded(int(r.big(2<<(b-0xde))), 2)
	}
	r.failed = true
	return 0
}

func (r *Reader) bounded(n, least int) int {
	if r.failed || n > (len(r.b)-r.at)/least {
		r.failed = true
		return 0
	}
	return n
}

// Ext reads an extension: its type and its bytes.
func (r *Reader) Ext() (kind int8, data []byte) {
	b := r.lead()
	size := 0
	switch {
	case b >= 0xd4 && b <= 0xd8:
		size = 1 << (b - 0xd4)
	case b >= 0xc7 && b <= 0xc9:
		size = int(r.big(1 << (b - 0xc7)))
	default:
		r.failed = true
		return 0, nil
	}
	kind = int8(r.big(1))
	return kind, r.take(size)
}

// Skip reads any value of a record that nests at most depth deep and returns its bytes. Extensions
// and text that is not UTF-8 fail: records hold neither.
func (r *Reader) Skip(depth int) []byte {
	at := r.at
	r.skip(depth)
	if r.failed {
		return nil
	}
	return r.Since(at)
}

func (r *Reader) skip(depth int) {
	switch r.Peek() {
	case Nil, Bool:
		r.at++
	case Int:
		r.Integer()
	case Float:
		r.Float()
	case Text:
		r.Text()
	case Bytes:
		r.Bytes()
	case List:
		r.skipMany(r.List(), depth)
	case Map:
		r.skipMany(2*r.Map(), depth)
	default:
		r.failed = true
	}
}

func (r *Reader) skipMany(n, depth int) {
	if depth <= 0 {
		r.failed = true
	}
	for ; n > 0 && !r.failed; n-- {
		r.skip(depth - 1)
	}
}
