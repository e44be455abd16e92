// Package lz4frame compresses a body as one LZ4 frame and decompresses it within a bound that is
// known before the first byte is decompressed.
package lz4frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format 1.6.3, github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md.
const (
	magic           = 0x184D2204
	flagVersion     = 0xc0
	version         = 0x40
	flagBlockSum    = 0x10
	flagSize        = 0x08
	flagContentSum  = 0x04
	flagReserved    = 0x02
	flagDictionary  = 0x01
	blockUncompress = 1 << 31
)

var errCut = errors.New("the LZ4 frame is cut")

var writers = sync.Pool{New: func() any { return lz4.NewWriter(io.Discard) }}

// Compress returns body as one LZ4 frame that states its content size, or nil if that would not be
// smaller.
func Compress(body []byte) []byte {
	out := &smaller{left: len(body) - 1}
	w := writers.Get().(*lz4.Writer)
	defer writers.Put(w)
	w.Reset(out)
	err := w.Apply(lz4.SizeOption(uint64(len(body))), lz4.BlockSizeOption(lz4.Block64Kb),
		lz4.ChecksumOption(false), lz4.ConcurrencyOption(1))
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		w.Reset(io.Discard)
		return nil
	}
	return out.frame
}

// smaller takes what is written until it is as large as the body was.
type smaller struct {
	frame []byte
	left  int
}

func (s *smaller) Write(part []byte) (int, error) {
	if s.left -= len(part); s.left < 0 {
		return 0, io.ErrShortWrite
	}
	s.frame = append(s.frame, part...)
	return len(part), nil
}

// bound says how large the content is at most, from the frame's own numbers, and checks that the
// frame is one, whole, with nothing behind it. content is -1 if the frame does not state its size.
func bound(frame []byte) (most, content int64, _ error) {
	if len(frame) < 7 {
		return 0, 0, errCut
	}
	flags, descriptor := frame[4], frame[5]
	switch {
	case binary.LittleEndian.Uint32(frame) != magic:
		return 0, 0, errors.New("not an LZ4 frame")
	case flags&flagVersion != version:
		return 0, 0, errors.New("an LZ4 frame of an unknown version")
	case flags&flagReserved != 0 || descriptor&0x8f != 0:
		return 0, 0, errors.New("reserved bits of the LZ4 frame are set")
	case flags&flagDictionary != 0:
		return 0, 0, errors.New("the LZ4 frame needs a dictionary")
	}
	id := descriptor >> 4
	if id < 4 || id > 7 {
		return 0, 0, errors.New("an LZ4 frame of an unknown block size")
	}
	blockMax := int64(1) << (8 + 2*id)
	at := 6
	content = -1
	if flags&flagSize != 0 {
		if len(frame) < at+8 {
			return 0, 0, errCut
		}
		size := binary.LittleEndian.Uint64(frame[at:])
		if size > 1<<62 {
			return 0, 0, errors.New("the LZ4 frame states an absurd size")
		}
		content = int64(size)
		at += 8
	}
	at++ // the descriptor's checksum
	for {
		if len(frame)-at < 4 {
			return 0, 0, errCut
		}
		size := binary.LittleEndian.Uint32(frame[at:])
		at += 4
		if size == 0 {
			break
		}
		length := int(size &^ blockUncompress)
		if int64(length) > blockMax {
			return 0, 0, errors.New("a block over the maximum of its LZ4 frame")
		}
		if flags&flagBlockSum != 0 {
			length += 4
		}
		if len(frame)-at < length {
			return 0, 0, errCut
		}
		at += length
		most += blockMax
	}
	if flags&flagContentSum != 0 {
		at += 4
	}
	if at > len(frame) {
		return 0, 0, errCut
	}
	if at < len(frame) {
		return 0, 0, fmt.Errorf("%d bytes behind the LZ4 frame", len(frame)-at)
	}
	if content >= 0 {
		most = min(most, content)
	}
	return most, content, nil
}

var readers = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

// Decompress returns the content of one LZ4 frame. The content is refused before it is decompressed
// if it could be larger than limit bytes, and never grows beyond its bound.
func Decompress(frame []byte, limit int64) ([]byte, error) {
	most, content, err := bound(frame)
	if err != nil {
		return nil, err
	}
	if most > limit {
		return nil, fmt.Errorf("the LZ4 frame may hold %d bytes, the limit is %d", most, limit)
	}
	r := readers.Get().(*lz4.Reader)
	defer readers.Put(r)
	r.Reset(bytes.NewReader(frame))
	if err := r.Apply(lz4.ConcurrencyOption(1)); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if content >= 0 {
		// The frame's word is not worth memory before its blocks have borne it out.
		body.Grow(int(min(content, 64*int64(len(frame)))))
	}
	n, err := body.ReadFrom(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("decompress: %w", err)
	case n > most || content >= 0 && n != content:
		return nil, errors.New("the content is not as large as the LZ4 frame states")
	}
	return body.Bytes(), nil
}
