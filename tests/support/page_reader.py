"""Pages as their elements and text."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "wbr"}


class Reader(HTMLParser):
    """Elements with their attributes, text, which elements were left open, and which ends fit none."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.wrong = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not {"style", "title", "script"} & set(self.open):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


class Tables(HTMLParser):
    """Caption, rows and columns of each table, and the summary of what it is folded into."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.summary = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if (tag, attrs) == ("details", [("class", "fold")]):
            self.summary = ""
        if tag == "table":
            self.found.append(["", -1, 0, self.summary])
        elif tag == "tr":
            self.found[-1][1] += 1
        elif tag in ("th", "td") and self.found[-1][1] == 0:
            self.found[-1][2] += 1
        self.open += [tag] * (tag in ("caption", "summary"))

    def handle_endtag(self, tag):
        if tag == "details":
            self.summary = None
        if tag in ("caption", "summary"):
            self.open.pop()

    def handle_data(self, data):
        if self.open == ["summary"] and self.summary is not None:
            self.summary += data
        if self.open == ["caption"]:
            self.found[-1][0] += data
