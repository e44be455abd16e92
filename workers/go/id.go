package tusk

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// TaskID names a task or a pipeline item for ever. Its maker is the client; the broker joins two
// submits of one id into one task.
type TaskID [16]byte

// NewTaskID makes a UUIDv7 (RFC 9562): 48 bits of the time in milliseconds, then 74 random bits.
func NewTaskID() TaskID {
	var id TaskID
	rand.Read(id[6:]) // never fails
	now := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint32(id[:], uint32(now>>16))
	binary.BigEndian.PutUint16(id[4:], uint16(now))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseTaskID reads the text form of an id, 32 hexadecimal digits with or without the dashes of a
// UUID.
func ParseTaskID(text string) (TaskID, error) {
	var id TaskID
	digits := text
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		digits = text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	}
	if len(digits) != 32 {
		return id, fmt.Errorf("tusk: %q is not a task id", text)
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return TaskID{}, fmt.Errorf("tusk: %q is not a task id", text)
	}
	return id, nil
}

// String writes the id as a UUID.
func (id TaskID) String() string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
