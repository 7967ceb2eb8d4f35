// Configures a WireGuard device by wgctrl as other programs do, reads it back, and removes a peer:
//
//	wgctrl INTERFACE
//
// It prints "ok" or what was not as it had been set, with status 1. The device is left with one peer.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func must[T any](v T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return v
}

func fail(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	os.Exit(1)
}

func network(s string) net.IPNet {
	_, n, err := net.ParseCIDR(s)
	return *must(n, err)
}

func pointer[T any](v T) *T { return &v }

func same(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		fail("%s: %v, not %v", what, got, want)
	}
}

func networks(list []net.IPNet) []string {
	var s []string
	for _, n := range list {
		s = append(s, n.String())
	}
	slices.Sort(s)
	return s
}

func checkPeer(p wgtypes.Peer, c wgtypes.PeerConfig) {
	psk := wgtypes.Key{}
	if c.PresharedKey != nil {
		psk = *c.PresharedKey
	}
	same("preshared key", p.PresharedKey, psk)
	same("allowed IPs", networks(p.AllowedIPs), networks(c.AllowedIPs))
	same("endpoint", p.Endpoint, c.Endpoint)
	keepalive := time.Duration(0)
	if c.PersistentKeepaliveInterval != nil {
		keepalive = *c.PersistentKeepaliveInterval
	}
	same("keepalive", p.PersistentKeepaliveInterval, keepalive)
	same("last handshake", p.LastHandshakeTime.IsZero(), true)
	same("received", p.ReceiveBytes, 0)
	same("protocol version", p.ProtocolVersion, 1)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: wgctrl INTERFACE")
		os.Exit(2)
	}
	name := os.Args[1]
	client := must(wgctrl.New())
	defer client.Close()

	private := must(wgtypes.GeneratePrivateKey())
	first := wgtypes.PeerConfig{
		PublicKey:                   must(wgtypes.GeneratePrivateKey()).PublicKey(),
		PresharedKey:                pointer(must(wgtypes.GenerateKey())),
		Endpoint:                    &net.UDPAddr{IP: net.ParseIP("192.0.2.77"), Port: 51821},
		PersistentKeepaliveInterval: pointer(25 * time.Second),
		ReplaceAllowedIPs:           true,
		AllowedIPs:                  []net.IPNet{network("10.81.0.0/16"), network("fd81::/48")},
	}
	second := wgtypes.PeerConfig{
		PublicKey:         must(wgtypes.GeneratePrivateKey()).PublicKey(),
		Endpoint:          &net.UDPAddr{IP: net.ParseIP("2001:db8::77"), Port: 51822},
		ReplaceAllowedIPs: true,
		AllowedIPs:        []net.IPNet{network("10.82.0.1/32"), network("0.0.0.0/0"), network("::/0")},
	}
	configure := func(what string, c wgtypes.Config) *wgtypes.Device {
		if err := client.ConfigureDevice(name, c); err != nil {
			fail("%s: %v", what, err)
		}
		return must(client.Device(name))
	}

	d := configure("set", wgtypes.Config{
		PrivateKey:   &private,
		ListenPort:   pointer(51899),
		FirewallMark: pointer(0x77),
		ReplacePeers: true,
		Peers:        []wgtypes.PeerConfig{first, second},
	})
	same("name", d.Name, name)
	same("type", d.Type, wgtypes.Userspace)
	same("private key", d.PrivateKey, private)
	same("public key", d.PublicKey, private.PublicKey())
	same("port", d.ListenPort, 51899)
	same("mark", d.FirewallMark, 0x77)
	same("peers", len(d.Peers), 2)
	for _, c := range []wgtypes.PeerConfig{first, second} {
		i := slices.IndexFunc(d.Peers, func(p wgtypes.Peer) bool { return p.PublicKey == c.PublicKey })
		if i < 0 {
			fail("a peer that was set is not there")
		}
		checkPeer(d.Peers[i], c)
	}

	// Peers that are only to be updated: one that is there, one that is not.
	second.AllowedIPs = append(second.AllowedIPs, network("10.83.0.0/24"))
	d = configure("update", wgtypes.Config{Peers: []wgtypes.PeerConfig{
		{PublicKey: second.PublicKey, UpdateOnly: true, AllowedIPs: []net.IPNet{network("10.83.0.0/24")}},
		{PublicKey: must(wgtypes.GeneratePrivateKey()).PublicKey(), UpdateOnly: true},
	}})
	same("peers after an update", len(d.Peers), 2)

	d = configure("remove", wgtypes.Config{
		FirewallMark: pointer(0),
		Peers:        []wgtypes.PeerConfig{{PublicKey: first.PublicKey, Remove: true}},
	})
	same("mark that was taken away", d.FirewallMark, 0)
	same("peers that are left", len(d.Peers), 1)
	if !bytes.Equal(d.Peers[0].PublicKey[:], second.PublicKey[:]) {
		fail("the wrong peer was removed")
	}
	checkPeer(d.Peers[0], second)
	if !slices.ContainsFunc(must(client.Devices()), func(d *wgtypes.Device) bool { return d.Name == name }) {
		fail("not among all devices")
	}
	fmt.Println("ok")
}
