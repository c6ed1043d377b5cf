import { overviewAt } from "../addresses";
import { Heading } from "../ui/frame";

export function NoSuchPage() {
  return (
    <>
      <Heading title="No such page">There is no such page</Heading>
      <p>
        <a href={overviewAt()}>Go to the first page</a>
      </p>
    </>
  );
}
