// Package zmq is the DEALER socket of an SDK on libzmq, with one C call for each packet.
//
// It stands on libzmq itself and not on pebbe/zmq4: that package hides the socket's handle, so that
// nothing can be put beside it that receives all frames of a packet in one call, and it polls by
// blocking a thread. Here libzmq's descriptors go into Go's own poller: a goroutine that waits for
// packets costs no thread.
package zmq

/*
#cgo pkg-config: libzmq
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

// More frames than any broker can be told to send. Frames beyond are read and thrown away.
#define TUSK_FRAMES 65600

typedef struct {
    void *context, *socket, *monitor;
    zmq_msg_t *part;
    void **data;
    size_t *size;
    int room;  // in part, data and size
    int held;  // parts that tusk_receive gave out and has not closed yet
} tusk_socket;

static void tusk_release(tusk_socket *s) {
    for (int i = 0; i < s->held; i++) zmq_msg_close(&s->part[i]);
    s->held = 0;
}

static int tusk_grow(tusk_socket *s) {
    int room = s->room ? 4 * s->room : 16;
    zmq_msg_t *part = malloc(room * sizeof *part);
    void **data = realloc(s->data, room * sizeof *data);
    if (data) s->data = data;
    size_t *size = realloc(s->size, room * sizeof *size);
    if (size) s->size = size;
    if (!part || !data || !size) {
        free(part);
        return -1;
    }
    for (int i = 0; i < s->held; i++) {
        zmq_msg_init(&part[i]);
        zmq_msg_move(&part[i], &s->part[i]);
        data[i] = zmq_msg_data(&part[i]);  // a small frame lies within its zmq_msg_t
    }
    free(s->part);
    s->part = part;
    s->room = room;
    return 0;
}

// Returns the number of frames of the packet that was received whole, TUSK_FRAMES + 1 if it had more
// than fit, or minus errno. The frames live until the next call.
static int tusk_receive(tusk_socket *s) {
    tusk_release(s);
    int more = 1, over = 0;
    while (more) {
        if (s->held == TUSK_FRAMES || (s->held == s->room && tusk_grow(s))) {
            over = 1;
            zmq_msg_close(&s->part[--s->held]);
        }
        int n = s->held;
        zmq_msg_init(&s->part[n]);
        // libzmq hands a multipart message out whole: once its first frame is there all are.
        int rc;
        do rc = zmq_msg_recv(&s->part[n], s->socket, ZMQ_DONTWAIT);
        while (rc < 0 && errno == EINTR);
        if (rc < 0) {
            int e = errno;
            zmq_msg_close(&s->part[n]);
            tusk_release(s);
            return -e;
        }
        s->data[n] = zmq_msg_data(&s->part[n]);
        s->size[n] = zmq_msg_size(&s->part[n]);
        s->held++;
        more = zmq_msg_more(&s->part[n]);
    }
    return over ? TUSK_FRAMES + 1 : s->held;
}

// Sends a packet of n frames whole. Returns 0, or minus errno with nothing sent.
static int tusk_send(tusk_socket *s, void **data, size_t *size, int n) {
    for (int i = 0; i < n; i++) {
        int rc;
        do rc = zmq_send(s->socket, data[i], size[i], ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0));
        while (rc < 0 && errno == EINTR);
        // Only the first frame can be refused: libzmq takes a message whole or not at all.
        if (rc < 0) return -errno;
    }
    return 0;
}

static int tusk_set(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static void tusk_close(tusk_socket *s, int linger_ms) {
    tusk_release(s);
    if (s->monitor) {
        tusk_set(s->monitor, ZMQ_LINGER, 0);
        zmq_close(s->monitor);
    }
    if (s->socket) {
        zmq_socket_monitor(s->socket, NULL, 0);
        tusk_set(s->socket, ZMQ_LINGER, linger_ms);
        zmq_close(s->socket);
    }
    if (s->context) while (zmq_ctx_term(s->context) < 0 && errno == EINTR);
    free(s->part);
    free(s->data);
    free(s->size);
    free(s);
}

// Returns NULL and sets errno.
static tusk_socket *tusk_open(const char *url) {
    tusk_socket *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->context = zmq_ctx_new();
    if (!s->context || tusk_grow(s)) goto failed;
    s->socket = zmq_socket(s->context, ZMQ_DEALER);
    if (!s->socket) goto failed;
    void *z = s->socket;
    if (tusk_set(z, ZMQ_IMMEDIATE, 1) || tusk_set(z, ZMQ_LINGER, 0) ||
        tusk_set(z, ZMQ_RECONNECT_IVL, 10) || tusk_set(z, ZMQ_RECONNECT_IVL_MAX, 1000) ||
        tusk_set(z, ZMQ_HEARTBEAT_IVL, 5000) || tusk_set(z, ZMQ_HEARTBEAT_TIMEOUT, 15000))
        goto failed;
    if (zmq_socket_monitor(z, "inproc://monitor",
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED))
        goto failed;
    s->monitor = zmq_socket(s->context, ZMQ_PAIR);
    if (!s->monitor || zmq_connect(s->monitor, "inproc://monitor")) goto failed;
    if (zmq_connect(z, url)) goto failed;
    return s;
failed:;
    int e = errno;
    tusk_close(s, 0);
    errno = e;
    return NULL;
}

static int tusk_descriptor(void *socket) {
    int fd = -1;
    size_t size = sizeof fd;
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) ? -1 : fd;
}

// Returns the next event of the monitor, 0 if there is none, or minus errno.
static int tusk_event(tusk_socket *s) {
    zmq_msg_t part;
    int event = 0, more = 1;
    for (int i = 0; more; i++) {
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, s->monitor, ZMQ_DONTWAIT) < 0) {
            int e = errno;
            zmq_msg_close(&part);
            return e == EAGAIN || e == EINTR ? 0 : -e;
        }
        if (i == 0 && zmq_msg_size(&part) >= 2) {
            uint16_t number;
            memcpy(&number, zmq_msg_data(&part), 2);
            event = number;
        }
        more = zmq_msg_more(&part);
        zmq_msg_close(&part);
    }
    return event;
}

// Lets the socket take note of what libzmq's own thread told it (a new connection, room to send).
static int tusk_refresh(tusk_socket *s) {
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(s->socket, ZMQ_EVENTS, &events, &size);
}
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// ErrAgain says that nothing is there to receive, or no room to send.
var ErrAgain = errors.New("again")

// ErrFrames says that a packet had more frames than any packet may have.
var ErrFrames = errors.New("packet of too many frames")

// Event is what the monitor saw of the connection.
type Event int

// The events of the monitor that matter to a session.
const (
	Connected    Event = C.ZMQ_EVENT_HANDSHAKE_SUCCEEDED
	Disconnected Event = C.ZMQ_EVENT_DISCONNECTED
)

// Socket is a DEALER that connects to one endpoint, again and again. All methods are for one
// goroutine at a time.
type Socket struct {
	c       *C.tusk_socket
	watched [2]*os.File
	pin     runtime.Pinner
	data    []unsafe.Pointer
	size    []C.size_t
}

// Open makes a socket that connects to url in the background. From other goroutines packets is called
// whenever there may be something to receive or room to send, and events when there may be an event;
// they must not block.
func Open(url string, packets, events func()) (*Socket, error) {
	text := C.CString(url)
	defer C.free(unsafe.Pointer(text))
	c, err := C.tusk_open(text)
	if c == nil {
		return nil, fmt.Errorf("connect to %q: %w", url, err)
	}
	s := &Socket{c: c}
	if s.watched[0], err = watch(c.socket, packets); err == nil {
		s.watched[1], err = watch(c.monitor, events)
	}
	if err != nil {
		s.Close(0)
		return nil, err
	}
	return s, nil
}

// watch calls wake at every edge of the socket's descriptor, which stays libzmq's: it is duplicated.
//
// libzmq's descriptor tells edges, and so does Go's poller. One Read that never succeeds waits for
// them all: Go remembers an edge that comes between two waits of the same Read, but forgets it
// between two Reads.
func watch(socket unsafe.Pointer, wake func()) (*os.File, error) {
	copied, err := syscall.Dup(int(C.tusk_descriptor(socket)))
	if err != nil {
		return nil, fmt.Errorf("duplicate libzmq's descriptor: %w", err)
	}
	syscall.CloseOnExec(copied)
	file := os.NewFile(uintptr(copied), "zmq")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("watch libzmq's descriptor: %w", err)
	}
	go raw.Read(func(uintptr) bool {
		wake()
		return false
	})
	return file, nil
}

// Receive returns the frames of the next packet, copied, or ErrAgain. Only after ErrAgain is the
// next packet sure to call wake.
func (s *Socket) Receive() ([][]byte, error) {
	n := int(C.tusk_receive(s.c))
	if n < 0 {
		return nil, failure(n)
	}
	if n > C.TUSK_FRAMES {
		return nil, ErrFrames
	}
	frames := make([][]byte, n)
	data, size := unsafe.Slice(s.c.data, n), unsafe.Slice(s.c.size, n)
	for i := range frames {
		frames[i] = bytes.Clone(unsafe.Slice((*byte)(data[i]), size[i]))
	}
	return frames, nil
}

// Send sends a packet whole, or returns ErrAgain and has sent nothing of it. Frames are copied.
func (s *Socket) Send(head []byte, bodies [][]byte) error {
	s.data, s.size = s.data[:0], s.size[:0]
	s.add(head)
	for _, body := range bodies {
		s.add(body)
	}
	n := C.tusk_send(s.c, &s.data[0], &s.size[0], C.int(len(s.data)))
	s.pin.Unpin()
	clear(s.data) // cgo looks at the whole array, the next time as well
	if n < 0 {
		return failure(int(n))
	}
	return nil
}

func (s *Socket) add(frame []byte) {
	start := unsafe.Pointer(unsafe.SliceData(frame))
	s.pin.Pin(start)
	s.data = append(s.data, start)
	s.size = append(s.size, C.size_t(len(frame)))
}

// Event returns the monitor's next event, or 0.
func (s *Socket) Event() Event {
	return Event(max(0, C.tusk_event(s.c)))
}

// Refresh lets Send see a connection that has just come up.
func (s *Socket) Refresh() {
	C.tusk_refresh(s.c)
}

// Close closes the socket; what was sent has up to linger to leave the process.
func (s *Socket) Close(linger time.Duration) {
	for _, file := range s.watched {
		if file != nil {
			file.Close()
		}
	}
	C.tusk_close(s.c, C.int(linger.Milliseconds()))
	s.c = nil
}

func failure(n int) error {
	if errno := syscall.Errno(-n); errno != syscall.EAGAIN {
		return errno
	}
	return ErrAgain
}
