/** The console of operators, on the monitor's port. */

import { render } from "preact";
import { Heading } from "./ui/frame";
import "./style.css";

const page = document.getElementById("page");
if (page !== null)
  render(
    <main>
      <Heading title="Operators">callfold</Heading>
    </main>,
    page,
  );
