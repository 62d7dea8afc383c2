"""That axe, asked about one of each look, still finds what differs."""

from accessibility import violations

PAGE = """<html lang="en"><head><title>A page</title></head><body style="background: #fff"><main><h1>A page</h1>
<p>black</p><p>black</p><p style="color: #ccc">grey</p><p style="color: #ccc">grey again</p>
<div style="background: #222"><p>black on black</p></div>
<div class="highlight"><pre><code>plain <b>same</b> <b>same</b> <b style="color: #ddd">pale</b></code></pre></div>
<div class="highlight"><pre><code><i>new</i></code></pre></div>
<div class="highlight"><pre><code><i>old</i></code></pre></div>
<input type="text"></main></body></html>"""


def test_one_of_each_look_is_asked_about(visit):
    page = visit("about:").page
    page.set_content(PAGE)
    colours = violations(page, others=False)
    assert page.locator("i").count() == 1, "the listing that shows nothing new is plain text now"
    assert [one.split(">")[1].split("<")[0] for one in colours] == ["grey", "black on black", "pale"]
    assert [one.split(":")[0] for one in violations(page, colours=False)] == ["label"]
