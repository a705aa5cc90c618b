// What Go's dials and datagrams cost: the namesakes of the functions in ../net_bench.cc.
package go_peers

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

const datagramBytes = 64

func BenchmarkDialAcceptClose(b *testing.B) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	where := listener.Addr().(*net.TCPAddr)
	accepted := make(chan int)
	go func() {
		count := 0
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				accepted <- count
				return
			}
			count++
			conn.Close()
		}
	}()
	nothing := make([]byte, 1)
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		conn, err := net.DialTCP("tcp4", nil, where)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(nothing); n != 0 || err != io.EOF {
			b.Fatal("not the end of the stream", n, err)
		}
		conn.Close()
	}
	listener.Close()
	if count := <-accepted; count != b.N {
		b.Fatal("a connection was not accepted")
	}
}

func listenUDP(b *testing.B) (*net.UDPConn, netip.AddrPort) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func BenchmarkUDPRoundTrip(b *testing.B) {
	here, _ := listenUDP(b)
	there, target := listenUDP(b)
	defer here.Close()
	done := make(chan bool)
	go func() {
		bytes := make([]byte, datagramBytes)
		for {
			n, from, err := there.ReadFromUDPAddrPort(bytes)
			if err != nil {
				close(done)
				return
			}
			there.WriteToUDPAddrPort(bytes[:n], from)
		}
	}()
	out, in := make([]byte, datagramBytes), make([]byte, datagramBytes)
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		binary.LittleEndian.PutUint64(out, uint64(i))
		if _, err := here.WriteToUDPAddrPort(out, target); err != nil {
			b.Fatal(err)
		}
		n, from, err := here.ReadFromUDPAddrPort(in)
		if err != nil || n != datagramBytes || binary.LittleEndian.Uint64(in) != uint64(i) || from.Port() != target.Port() {
			b.Fatal("another datagram", n, from, err)
		}
	}
	there.Close()
	<-done
}

// Go's net has no batches. This does what golang.org/x/net/ipv4 does for its ReadBatch and WriteBatch, with the addresses as
// they are: system calls on the raw connection.
type mmsghdr struct {
	header syscall.Msghdr
	bytes  uint32
	_      uint32
}

func batchCall(b *testing.B, raw func(func(uintptr) bool) error, number uintptr, messages []mmsghdr) int {
	var count uintptr
	var errno syscall.Errno
	err := raw(func(fd uintptr) bool {
		count, _, errno = syscall.Syscall6(number, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), 0, 0, 0)
		return errno != syscall.EAGAIN
	})
	if err != nil || errno != 0 {
		b.Fatal(err, errno)
	}
	return int(count)
}

func BenchmarkUDPBatch(b *testing.B) {
	var sendmmsg, recvmmsg uintptr
	switch runtime.GOARCH {
	case "amd64":
		sendmmsg, recvmmsg = 307, 299
	case "arm64":
		sendmmsg, recvmmsg = 269, 243
	default:
		b.Skip("the numbers of these system calls are not known here for ", runtime.GOARCH)
	}
	const batch = 64
	here, source := listenUDP(b)
	there, target := listenUDP(b)
	defer here.Close()
	defer there.Close()
	rawHere, err := here.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	rawThere, err := there.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	to := syscall.RawSockaddrInet4{Family: syscall.AF_INET, Port: target.Port()<<8 | target.Port()>>8, Addr: target.Addr().As4()}
	var froms [batch]syscall.RawSockaddrInet4
	var sent, received [batch][datagramBytes]byte
	var vectors [2 * batch]syscall.Iovec
	out, in := make([]mmsghdr, batch), make([]mmsghdr, batch)
	for i := range out {
		vectors[i] = syscall.Iovec{Base: &sent[i][0], Len: datagramBytes}
		vectors[batch+i] = syscall.Iovec{Base: &received[i][0], Len: datagramBytes}
		out[i].header = syscall.Msghdr{Name: (*byte)(unsafe.Pointer(&to)), Namelen: syscall.SizeofSockaddrInet4, Iov: &vectors[i], Iovlen: 1}
		in[i].header = syscall.Msghdr{Name: (*byte)(unsafe.Pointer(&froms[i])), Iov: &vectors[batch+i], Iovlen: 1}
	}
	var nextOut, nextIn uint64
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		for i := range sent {
			binary.LittleEndian.PutUint64(sent[i][:], nextOut)
			nextOut++
		}
		if n := batchCall(b, rawHere.Write, sendmmsg, out); n != batch {
			b.Fatal("not all were sent", n)
		}
		for left := batch; left > 0; {
			for i := range in {
				in[i].header.Namelen = syscall.SizeofSockaddrInet4
			}
			n := batchCall(b, rawThere.Read, recvmmsg, in)
			for i := 0; i < n; i++ {
				from := netip.AddrPortFrom(netip.AddrFrom4(froms[i].Addr), froms[i].Port<<8|froms[i].Port>>8)
				if in[i].bytes != datagramBytes || binary.LittleEndian.Uint64(received[i][:]) != nextIn || from != source {
					b.Fatal("another datagram", from)
				}
				nextIn++
			}
			left -= n
		}
	}
}
