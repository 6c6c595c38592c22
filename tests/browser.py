"""Opens interactive maps in a real browser without a network, and acts with its pointer."""

import json
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
    "--force-device-scale-factor=1",
    # WebGL drawn by the processor.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # No name is found, so nothing outside can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
#: Where each point is in the window, by row; what Bokeh knows of the drawing.
PIXELS = """
const view = Bokeh.index.roots[0], frame = view.frame, box = view.canvas.el.getBoundingClientRect();
const source = view.model.renderers[0].data_source, rows = source.get_column("row"), found = {};
const xs = frame.x_scale.v_compute(source.get_column("x"));
const ys = frame.y_scale.v_compute(source.get_column("y"));
for (let index = 0; index < rows.length; index++) {
  found[rows[index]] = [box.left + xs[index], box.top + ys[index]];
}
return found;
"""
#: Elements inside the shadow trees of Bokeh's parts.
DEEP = """
const [selector, title] = arguments, found = [];
(function look(root) {
  for (const element of root.querySelectorAll("*")) {
    const named = !title || element.title.startsWith(title);
    if (named && element.matches(selector)) found.push(element);
    if (element.shadowRoot) look(element.shadowRoot);
  }
})(document);
return found;
"""
RANGES = """
const {x_range: x, y_range: y} = Bokeh.index.roots[0].model;
return [x.start, x.end, y.start, y.end];
"""


def start(folder):
    """Return a headless browser, or skip the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if driver is None or browser is None:
        pytest.skip("needs Chromium or Chrome, and chromedriver, on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in OPTIONS:
        options.add_argument(option)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


class Page:
    """One interactive map in the browser."""

    def __init__(self, driver, path):
        self.driver = driver
        driver.get_log("performance")
        driver.get(path.as_uri())
        self.wait(lambda: self.run("return document.documentElement.dataset.ready"))
        self.settle()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: condition())

    def settle(self):
        """Wait until the browser has painted what it was asked to."""
        self.driver.execute_async_script(
            "const done = arguments[0]; let frames = 4;"
            "(function next() { frames-- ? requestAnimationFrame(next) : setTimeout(done) })()"
        )

    def pixels(self):
        """Return (x, y) in the window by row."""
        return {int(row): tuple(at) for row, at in self.run(PIXELS).items()}

    def deep(self, selector, title=""):
        return self.run(DEEP, selector, title)

    def tool(self, title):
        self.deep("[title]", title)[0].click()

    def drag(self, points):
        """Press the button at the first point, move along, release it at the last."""
        actions = self._pointer()
        (x, y), *rest = ((int(x), int(y)) for x, y in points)
        actions.pointer_action.move_to_location(x, y).pointer_down()
        for x, y in rest:
            actions.pointer_action.move_to_location(x, y)
        actions.pointer_action.pointer_up()
        actions.perform()
        self.settle()

    def hover(self, x, y):
        """Return the text of the tooltip at a place, as it is on the screen."""
        actions = self._pointer()
        actions.pointer_action.move_to_location(int(x) - 3, int(y))
        actions.pointer_action.move_to_location(round(x), round(y))
        actions.perform()
        self.settle()
        return self.wait(
            lambda: "\n".join(
                tip.text or self.run("return arguments[0].shadowRoot.textContent", tip)
                for tip in self.deep(".bk-Tooltip")
                if tip.is_displayed()
            )
        )

    def wheel(self, x, y, by):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        main = self.driver.find_element("tag name", "main")
        centre = main.rect["x"] + main.rect["width"] / 2, main.rect["y"] + main.rect["height"] / 2
        origin = ScrollOrigin.from_element(main, int(x - centre[0]), int(y - centre[1]))
        ActionChains(self.driver).scroll_from_origin(origin, 0, by).perform()
        self.settle()

    def ranges(self):
        return self.run(RANGES)

    def element(self, name):
        return self.driver.find_element("id", name)

    def picture(self):
        """Return the pixels of the map, shape (height, width, 3), without the panel beside it."""
        import io

        import numpy as np
        from PIL import Image

        self.settle()
        with Image.open(io.BytesIO(self.driver.get_screenshot_as_png())) as image:
            seen = np.asarray(image.convert("RGB"))
        return seen[:, : int(self.driver.find_element("tag name", "main").rect["width"])]

    def requests(self):
        """Return the addresses asked for since the page was opened."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        sent = [event["message"] for event in events]
        return [
            event["params"]["request"]["url"]
            for event in sent
            if event["method"] == "Network.requestWillBeSent"
        ]

    def errors(self):
        """Return what the browser's console holds beside remarks."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def _pointer(self):
        from selenium.webdriver.common.action_chains import ActionBuilder

        return ActionBuilder(self.driver, duration=20)
