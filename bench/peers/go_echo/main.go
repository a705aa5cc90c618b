// A line echo server on Go's net package: the peer whose model roost brings to C++.
//
// It does what a Go programmer would write for speed with the standard library alone: one goroutine a
// connection, a 4 KiB bufio.Reader and bufio.Writer, a five-minute read deadline on every round, keep-alive;
// TCP_NODELAY is Go's default. ReadSlice instead of ReadString, since the latter allocates for every line.
// The benchmark runs it with GOMAXPROCS=1 (bench/compare/compare.py).
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	bufferBytes = 4 * 1024
	readTimeout = 5 * time.Minute
	keepAlive   = 3 * time.Minute
	acceptPause = 100 * time.Millisecond // while accept fails for want of a resource
)

func echo(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, bufferBytes)
	out := bufio.NewWriterSize(conn, bufferBytes)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // the end, a time-out or a failure
		}
		if _, werr := out.Write(line); werr != nil {
			return
		}
		if err != nil {
			continue // a line longer than the buffer: its pieces go out as they come
		}
		if out.Flush() != nil {
			return
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "HOST:PORT to listen on")
	flag.Parse()

	config := net.ListenConfig{KeepAlive: keepAlive}
	listener, err := config.Listen(context.Background(), "tcp", *listen)
	if err != nil {
		fmt.Fprintf(os.Stderr, "go_echo: cannot listen on %s: %v\n", *listen, err)
		os.Exit(2)
	}
	fmt.Printf("go_echo: listening on %s\n", *listen)
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintf(os.Stderr, "go_echo: accept: %v; retrying\n", err)
			time.Sleep(acceptPause)
			continue
		}
		go echo(conn)
	}
}
