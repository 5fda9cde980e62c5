package replay

// timeline draws the timeline, with what its colours mean.
func (p page) timeline(t *timeline) {
	p.add("<h2>Timeline (UTC)</h2>\n<div class=\"scroll\">\n")
	p.add("<svg viewBox=\"0 0 %v %v\" role=\"img\" aria-label=\"Timeline of the incidents\">\n", t.Width, t.Height)
	for _, m := range t.Marks {
		p.add(`<line class="grid" x1="%v" x2="%v" y1="24" y2="%v"/>`+"\n", m.X, m.X, t.Height)
		p.add(`<text class="mark" x="%v" y="17" text-anchor="%v">%v</text>`+"\n", m.X, m.Anchor, m.Text)
	}
	for _, l := range t.Lanes {
		p.lane(l)
	}
	p.add("</svg>\n</div>\n")
	p.add(`<p class="key soft"><span><i style="background:var(--bar)"></i>incident</span>`)
	p.add(`<span><i style="background:var(--tick);width:2px"></i>message</span>`)
	p.add(`<span><i style="background:var(--dot);border-radius:50%%"></i>step</span>` + "\n")
	if t.Left > 0 {
		p.add("<span>%v more hosts and namespaces are listed below.</span>", t.Left)
	}
	p.add("</p>\n")
}

// lane draws the label, and what is beside it from the back to the front: bars, strokes, dots.
func (p page) lane(l lane) {
	p.add(`<text x="12" y="%v" dominant-baseline="middle">%v<title>%v</title></text>`+"\n", l.Mid, l.Label, l.Name)
	if len(l.rest) > 0 {
		p.add(`<path class="bar" d="%v"/>`+"\n", string(l.rest))
	}
	for _, b := range l.Bars {
		p.add(`<a href="#incident-%v">`, b.Number)
		p.add(`<rect class="bar" x="%v" y="%v" width="%v" height="%v" rx="3">`, b.X, b.Y, b.Width, b.Height)
		p.add("<title>%v</title></rect></a>\n", b.Title)
	}
	p.add(`<path class="ticks" d="%v"/>`+"\n", string(l.ticks))
	for _, b := range l.Bars {
		for _, d := range b.Dots {
			p.add(`<circle class="dot" cx="%v" cy="%v" r="5"><title>%v</title></circle>`+"\n", d.X, d.Y, d.Title)
		}
	}
}
