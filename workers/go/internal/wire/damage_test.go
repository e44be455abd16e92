package wire

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/damage"
)

// frames takes the one-buffer form apart; what is behind a length that lies is the last frame.
func frames(buffer []byte) (all [][]byte) {
	for len(buffer) >= 4 {
		size := min(uint64(binary.BigEndian.Uint32(buffer)), uint64(len(buffer)-4))
		all = append(all, buffer[4:4+size])
		buffer = buffer[4+size:]
	}
	return all
}

func packetVectors(t testing.TB) (all [][]byte) {
	for _, name := range []string{"packets/v1.json", "malformed/v1.json"} {
		some, err := damage.Vectors(vectors+name, "bytes")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

// decodeAnything fails the test unless the packet is refused as malformed, or all that was read of it can
// be read on.
func decodeAnything(t *testing.T, packet [][]byte) (taken bool) {
	t.Helper()
	records, _, err := Decode(packet, nil)
	if err != nil {
		var malformed *Malformed
		if !errors.As(err, &malformed) || malformed.Why == "" || records != nil {
			t.Fatalf("%x: records %v, error %#v", packet, records, err)
		}
		return false
	}
	for _, r := range records {
		if !utf8.Valid(r.Name) || !utf8.Valid(r.Text) {
			t.Fatalf("%x: text that is not UTF-8", packet)
		}
		if r.Raw == nil {
			continue
		}
		again := NewReader(r.Raw)
		if again.Skip(MaxDepth); again.Failed() || again.More() {
			t.Fatalf("%x: a value of kind %d that cannot be read again: %x", packet, r.Kind, r.Raw)
		}
		if r.Kind == Recall || r.Kind == Returned {
			Handles(r.Raw)
		}
	}
	return true
}

func TestAnyBytesAreAPacketOrMalformed(t *testing.T) {
	const cases, mostPerCase = 20_000, 8 << 10
	all := packetVectors(t)
	random := rand.New(rand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	taken := 0
	for range cases {
		if decodeAnything(t, frames(damage.Of(random, all))) {
			taken++
		}
	}
	runtime.ReadMemStats(&after)
	// A length that lies costs no memory.
	if used := (after.TotalAlloc - before.TotalAlloc) / cases; used > mostPerCase {
		t.Errorf("%d bytes were allocated for a packet, on average", used)
	}
	// Both ways have to be gone, or this test says nothing.
	if taken < cases/50 || taken > cases*9/10 {
		t.Errorf("%d of %d packets were taken", taken, cases)
	}
}

func FuzzDecode(f *testing.F) {
	for _, packet := range packetVectors(f) {
		if len(packet) < 4096 {
			f.Add(packet)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) { decodeAnything(t, frames(packet)) })
}
