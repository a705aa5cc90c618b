// What Go's scheduler costs: the namesakes of functions in ../runtime_bench.cc.
package go_peers

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Two goroutines give way to each other: both switches.
func BenchmarkGosched(b *testing.B) {
	var stop atomic.Bool
	others := 0
	done := make(chan bool)
	go func() {
		for ; !stop.Load(); others++ {
			runtime.Gosched()
		}
		close(done)
	}()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		runtime.Gosched()
	}
	stop.Store(true)
	<-done
	// Go runs the same goroutine again in one turn of a thousand.
	if others < b.N/2 {
		b.Fatal("a turn did not let the other goroutine run", others, b.N)
	}
}

func BenchmarkSpawnJoin(b *testing.B) {
	var group sync.WaitGroup
	sum, expected := 0, 0
	for i := 0; i < b.N; i++ {
		expected += i
		group.Add(1)
		go func() {
			sum += i
			group.Done()
		}()
		group.Wait()
	}
	if sum != expected {
		b.Fatal("a goroutine did not add its number")
	}
}

func BenchmarkSetReadDeadline(b *testing.B) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.DialTCP("tcp4", nil, listener.Addr().(*net.TCPAddr))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	conn.SetReadDeadline(time.Now())
	if _, err := conn.Read(make([]byte, 1)); !os.IsTimeout(err) {
		b.Fatal("the deadline did not count", err)
	}
}
